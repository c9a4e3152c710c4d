"""What goes into each architecture: latents and text of which shape.

ComfyUI knows the channels and dimensions of a latent (``latent_format``); how many pixels one of its points stands for and how wide
the text is lies in VAEs and text encoders, other files.  So this is a table by ComfyUI's own class names (``comfy.supported_models``,
0.3.75), read along the class's parents; the widths are those of the text encoders that ComfyUI's nodes give these models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Size:
    """What is made: pixels, frames (1: a picture) and pictures at once."""

    width: int = 1024
    height: int = 1024
    frames: int = 1
    batch: int = 1


PICTURE = Size()


@dataclass(frozen=True, slots=True)
class Inputs:
    """pixels, frames: of each side, and of the time after the first frame, that one point of the latent stands for
    tokens, text_width: of the text; pooled_width: of its summary, 0 for none
    masked: the text comes with a mask of its tokens"""

    pixels: int
    frames: int
    tokens: int
    text_width: int
    pooled_width: int = 0
    masked: bool = False


TABLE: dict[str, Inputs] = {
    "SD15": Inputs(8, 1, 77, 768),
    "SD20": Inputs(8, 1, 77, 1024),
    "SDXLRefiner": Inputs(8, 1, 77, 1280, 1280),
    "SDXL": Inputs(8, 1, 77, 2048, 1280),
    "SD3": Inputs(8, 1, 154, 4096, 2048),
    "AuraFlow": Inputs(8, 1, 256, 2048),
    "PixArtAlpha": Inputs(8, 1, 120, 4096),
    "PixArtSigma": Inputs(8, 1, 300, 4096),
    "Flux": Inputs(8, 1, 256, 4096, 768),
    "Flux2": Inputs(16, 1, 512, 15360),
    "Chroma": Inputs(8, 1, 256, 4096),
    "ChromaRadiance": Inputs(1, 1, 256, 4096),
    "GenmoMochi": Inputs(8, 6, 256, 4096, masked=True),
    "LTXV": Inputs(32, 8, 256, 4096, masked=True),
    "HunyuanVideo": Inputs(8, 4, 256, 4096, 768),
    "HunyuanImage21": Inputs(32, 1, 256, 3584),
    "HunyuanVideo15": Inputs(16, 4, 256, 3584),
    "CosmosT2V": Inputs(8, 8, 512, 1024, masked=True),
    "CosmosT2IPredict2": Inputs(8, 4, 512, 1024),
    "Lumina2": Inputs(8, 1, 256, 2304),
    "ZImage": Inputs(8, 1, 256, 2560),
    "WAN21_T2V": Inputs(8, 4, 512, 4096),
    "WAN22_T2V": Inputs(16, 4, 512, 4096),
    "Omnigen2": Inputs(8, 1, 256, 2048, masked=True),
    "QwenImage": Inputs(8, 4, 256, 3584),
}
OF_A_LATENT = Inputs(8, 4, 0, 0)
"""for the others: enough for what ComfyUI's own formulas ask for"""


def inputs_of(config: Any) -> Inputs | None:
    """Of ComfyUI's description of an architecture; None where the table has none of its classes."""
    return next((TABLE[one.__name__] for one in type(config).__mro__ if one.__name__ in TABLE), None)


def latent_shape(config: Any, size: Size) -> tuple[int, ...]:
    """Batch, channels, then frames where it has them, height and width."""
    made = inputs_of(config) or OF_A_LATENT
    latent = config.latent_format
    dimensions = getattr(latent, "latent_dimensions", 2)
    height, width = (max(1, -(-pixels // made.pixels)) for pixels in (size.height, size.width))
    if dimensions == 1:  # sound and shapes: their length has nothing to do with pixels
        return (size.batch, latent.latent_channels, 1024)
    if dimensions == 2:
        return (size.batch, latent.latent_channels, height, width)
    return (size.batch, latent.latent_channels, (size.frames - 1) // made.frames + 1, height, width)


def vae_latent(vae: Any, size: Size) -> tuple[int, ...]:
    """Of a VAE alone; () where it makes no pictures."""
    dimensions = getattr(vae, "latent_dim", 0)
    if dimensions not in (2, 3):
        return ()
    ratios = getattr(vae, "upscale_index_formula", None) or (1, vae.upscale_ratio, vae.upscale_ratio)
    if not all(isinstance(one, int) for one in ratios):
        return ()
    frames, height, width = ratios
    pixels = (max(1, -(-size.height // height)), max(1, -(-size.width // width)))
    time = () if dimensions == 2 else ((size.frames - 1) // frames + 1,)
    return (size.batch, vae.latent_channels, *time, *pixels)
