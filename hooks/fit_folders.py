"""ComfyUI's folders of whose models it can be said what memory they take."""

from __future__ import annotations

CHECKPOINTS, DIFFUSION, TEXT, VAES = "checkpoints", "diffusion_models", "text_encoders", "vae"
FOLDERS = (CHECKPOINTS, DIFFUSION, TEXT, VAES)
GGUF_FOLDER = "unet_gguf"
"""of the node pack that loads GGUF diffusion models"""
