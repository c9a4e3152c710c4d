"""Workflows in ComfyUI's API format."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def text_to_image(
    checkpoint: str,
    *,
    lora: str | None = None,
    unet: str | None = None,
    vae: str | None = None,
    latent: str = "sd3",
    size: int = 64,
    steps: int = 1,
    seed: int = 1,
    text: str = "a cat",
) -> Graph:
    """Checkpoint (node "4") → image (node "9"); ``unet`` and ``vae`` take those parts from files of their own.

    latent: "sd3" for the tiny models (16 channels), "sd" for Stable Diffusion 1.5
    """
    graph = {"4": node("CheckpointLoaderSimple", ckpt_name=checkpoint)}
    model, clip, decoder = ["4", 0], ["4", 1], ["4", 2]
    if unet:
        graph["11"] = node("UNETLoader", unet_name=unet, weight_dtype="default")
        model = ["11", 0]
    if vae:
        graph["12"] = node("VAELoader", vae_name=vae)
        decoder = ["12", 0]
    if lora:
        graph["10"] = node("LoraLoader", model=model, clip=clip, lora_name=lora, strength_model=1.0, strength_clip=1.0)
        model, clip = ["10", 0], ["10", 1]
    empty = "EmptySD3LatentImage" if latent == "sd3" else "EmptyLatentImage"
    graph["5"] = node(empty, width=size, height=size, batch_size=1)
    graph["6"] = node("CLIPTextEncode", text=text, clip=clip)
    graph["7"] = node("CLIPTextEncode", text="", clip=clip)
    graph["3"] = node(
        "KSampler",
        seed=seed,
        steps=steps,
        cfg=1.0,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
        model=model,
        positive=["6", 0],
        negative=["7", 0],
        latent_image=["5", 0],
    )
    graph["8"] = node("VAEDecode", samples=["3", 0], vae=decoder)
    graph["9"] = node("SaveImage", images=["8", 0], filename_prefix="model-stream")
    return graph


def load_only(class_type: str, output: int = 0, **inputs: Any) -> Graph:
    """One loader (node "1") whose result is shown as text, so that ComfyUI runs it."""
    return {"1": node(class_type, **inputs), "2": node("PreviewAny", source=["1", output])}
