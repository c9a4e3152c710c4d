"""Writes small and real-size model files with random weights that the real ComfyUI detects, loads and samples.

Run as a program of its own, with ComfyUI's Python:  modelmaker.py COMFYUI OUT KIND [--depth N] [--dtype D] [--seed S]
``checkpoints.py`` calls it; see there for what the kinds hold.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GRID = 24
"""positional grid of the tiny model: images up to 16 × GRID pixels a side"""
SD15_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1] * 9 + [0] * 3,
    "use_spatial_transformer": True,
    "context_dim": 768,
    "num_heads": 8,
    "num_head_channels": -1,
    "legacy": False,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_checkpoint": False,
}
SD15_VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}


class Weights:
    """Random weights of a scale that keeps activations finite; the same seed gives the same bytes."""

    def __init__(self, seed: int, dtype: str) -> None:
        import torch

        self.torch = torch
        self.dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, std: float = 1.0, mean: float = 0.0) -> Any:
        value = self.torch.empty(shape).normal_(mean, std, generator=self.generator) if shape else self.torch.tensor(mean)
        return value.to(self.dtype)

    def fill(self, shapes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """One tensor for each of a module's state dict (which may be on the meta device)."""
        return {prefix + name: self._like(name, tensor) for name, tensor in shapes.items()}

    def _like(self, name: str, tensor: Any) -> Any:
        if not tensor.dtype.is_floating_point:
            return self.torch.zeros(tensor.shape, dtype=tensor.dtype)
        if name.endswith("vae_scale"):
            return self.torch.ones(tensor.shape, dtype=self.dtype)
        if tensor.ndim <= 1:
            norm = name.endswith("weight") and tensor.ndim == 1
            return self.normal(*tensor.shape, std=0.02, mean=1.0 if norm else 0.0)
        std = 0.02 if "embedding" in name else 1 / math.sqrt(math.prod(tensor.shape[1:]))
        return self.normal(*tensor.shape, std=std)

    def lora(self, model: Mapping[str, Any], suffixes: tuple[str, ...], rank: int) -> dict[str, Any]:
        """A LoRA over the linear weights of a diffusion model whose names end with one of ``suffixes``."""
        made = {}
        for name, tensor in model.items():
            if name.endswith(suffixes) and tensor.ndim == 2:
                rows, columns = tensor.shape
                base = "diffusion_model." + name.removesuffix(".weight")
                made[base + ".lora_A.weight"] = self.normal(rank, columns, std=columns**-0.5)
                made[base + ".lora_B.weight"] = self.normal(rows, rank, std=rank**-0.5)
        return made


def tiny(weights: Weights, depth: int) -> dict[str, dict[str, Any]]:
    """SD3-style: ComfyUI infers the depth from x_embedder's rows.  A 16-channel TAESD is the VAE.

    The text-encoder section holds one placeholder and no encoder: ComfyUI then makes a CLIP object that answers
    zeros, so that no 246 MB CLIP is needed.
    """
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper
    from comfy.taesd.taesd import TAESD

    context = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 64 * depth}}
    module = OpenAISignatureMMDITWrapper(
        input_size=None,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        depth=depth,
        adm_in_channels=2048,
        context_embedder_config=context,
        num_patches=GRID**2,
        pos_embed_max_size=GRID,
        pos_embed_scaling_factor=None,
        qk_norm="rms",
        dtype=weights.dtype,
        device="cpu",
        operations=comfy.ops.disable_weight_init,
    )
    model = weights.fill(module.state_dict())
    vae = weights.fill(TAESD(latent_channels=16).state_dict())
    checkpoint = {"model.diffusion_model." + k: v for k, v in model.items()}
    checkpoint.update({"first_stage_model." + k: v for k, v in vae.items()})
    checkpoint["text_encoders.no_encoders"] = weights.torch.zeros(1, dtype=weights.dtype)
    lora = weights.lora(model, ("x_block.attn.qkv.weight",), rank=4)
    return {"checkpoints/tiny": checkpoint, "diffusion_models/tiny": model, "vae/tiny": vae, "loras/tiny": lora}


def sd15(weights: Weights, _depth: int) -> dict[str, dict[str, Any]]:
    """The real shapes of Stable Diffusion 1.5, from ComfyUI's own classes on the meta device: 2.13 GB in fp16."""
    import comfy.ops
    import comfy.sd1_clip
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    with weights.torch.device("meta"):
        unet = UNetModel(**SD15_UNET, dtype=weights.dtype, device="meta", operations=comfy.ops.disable_weight_init).state_dict()
        vae_shapes = AutoencoderKL(ddconfig=SD15_VAE, embed_dim=4).state_dict()
    text = comfy.sd1_clip.SD1ClipModel(device="meta", dtype=weights.dtype).state_dict()
    text = {k.removeprefix("clip_l."): v for k, v in text.items() if "logit_scale" not in k and "text_projection" not in k}
    checkpoint = weights.fill(unet, "model.diffusion_model.")
    vae = weights.fill(vae_shapes)
    checkpoint.update({"first_stage_model." + k: v for k, v in vae.items()})
    checkpoint.update(weights.fill(text, "cond_stage_model."))
    lora = weights.lora(unet, ("to_q.weight", "to_v.weight"), rank=8)
    return {"checkpoints/sd15": checkpoint, "vae/sd15": vae, "loras/sd15": lora}


def loaders(weights: Weights, _depth: int) -> dict[str, dict[str, Any]]:
    """The cheapest files that the other stock loaders accept.

    CLIP and CLIP vision have fixed sizes; ComfyUI leaves what a file does not hold uninitialised, so these hold just
    what their loaders look at and are good for loading only.
    """
    from comfy.t2i_adapter.adapter import Adapter

    layer = "text_model.encoder.layers.0."
    clip = {f"{layer}layer_norm{n}.weight": weights.normal(768, std=0.02, mean=1.0) for n in (1, 2)}
    clip[f"{layer}mlp.fc1.weight"] = weights.normal(3072, 768, std=0.03)
    vision = {f"vision_model.encoder.layers.{n}.layer_norm1.weight": weights.normal(1024, std=0.02, mean=1.0) for n in range(24)}
    vision["vision_model.embeddings.position_embedding.weight"] = weights.normal(257, 1024, std=0.02)
    adapter = Adapter(cin=192, channels=[8, 16, 32, 32], nums_rb=2, ksize=1, sk=True, use_conv=False)
    upscale = {"body.0.weight": weights.normal(8, 3, 3, 3, std=0.2), "body.0.bias": weights.normal(8, std=0.02)}
    upscale["body.1.weight"] = weights.normal(8, std=0.02, mean=0.2)
    upscale |= {"body.2.weight": weights.normal(12, 8, 3, 3, std=0.1), "body.2.bias": weights.normal(12, std=0.02)}
    return {
        "text_encoders/small-clip": clip,
        "clip_vision/small-vision": vision,
        "controlnet/small-adapter": weights.fill(adapter.state_dict()),
        "upscale_models/small-upscaler": upscale,
        "upscale_models/small-pickle.pth": upscale,
        "embeddings/small-embedding": {"emb_params": weights.normal(2, 768, std=0.02)},
    }


KINDS = {"tiny": tiny, "sd15": sd15, "loaders": loaders}


def save(out: Path, name: str, tensors: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    path = out / (name if name.endswith(".pth") else name + ".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comfyui", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--dtype", default="fp16", choices=["fp16", "bf16", "fp32"])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sys.path[0] = str(asked.comfyui)  # instead of this folder, which has a comfy.py of its own
    sys.argv = [sys.argv[0], "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()  # or --cpu is ignored, and a torch without CUDA fails on import
    for name, tensors in KINDS[asked.kind](Weights(asked.seed, asked.dtype), asked.depth).items():
        save(asked.out, name, tensors)


if __name__ == "__main__":
    main()
