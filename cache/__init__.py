"""The tiers and what governs them: the RAM arena, the SSD, leases, and opening an object through them.

Knows torch, not ComfyUI.  torch itself is imported where tensors are made, not when this package is imported.
"""
