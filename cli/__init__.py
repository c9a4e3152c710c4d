"""The command line: ``python -m modelstream COMMAND``, for machines where ComfyUI does not run (yet).

One module a command; ``main`` has the table of them.  Uses the same configuration, state and SSD tier as the extension in
ComfyUI; imports nothing of ComfyUI.
"""
