"""Diffusion models of ComfyUI's architectures at reduced depth, as state dicts with random weights.

For a process that has imported ComfyUI.  Each is built from ComfyUI's own class on the meta device, so names and shapes are the
real ones; its own detection has to find the same class again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """config: ComfyUI's unet_config; latent: the shape that is tried (batch 2: a condition and its opposite)

    depth: of transformers, put into the class for those that ComfyUI recognises by their full depth alone
    extra: shapes of what real files hold and ComfyUI's module does not
    """

    name: str
    config: dict[str, Any]
    latent: tuple[int, ...]
    depth: list[int] = field(default_factory=list)
    extra: dict[str, tuple[int, ...]] = field(default_factory=dict)


def _unet(context: int, adm: int | None, linear: bool, channels: int = 320, depth: tuple[int, ...] = (1, 1), **more: Any) -> dict[str, Any]:
    """Two levels instead of four."""
    return {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": channels, "num_res_blocks": [1, 1],
        "channel_mult": [1, 2], "transformer_depth": list(depth), "transformer_depth_middle": depth[-1],
        "transformer_depth_output": [depth[0], depth[0], depth[1], depth[1]], "use_spatial_transformer": True, "context_dim": context,
        "legacy": False, "use_linear_in_transformer": linear, "adm_in_channels": adm, "use_checkpoint": False,
        "use_temporal_attention": False, "use_temporal_resblock": False, **({"num_classes": "sequential"} if adm else {}), **more,
    }  # fmt: skip


def _flux(**more: Any) -> dict[str, Any]:
    return {
        "image_model": "flux", "axes_dim": [16, 56, 56], "num_heads": 24, "mlp_ratio": 4.0, "theta": 10000, "out_channels": 16,
        "qkv_bias": True, "in_channels": 16, "hidden_size": 3072, "context_in_dim": 4096, "patch_size": 2, "vec_in_dim": 768,
        "depth": 1, "depth_single_blocks": 1, "guidance_embed": True, **more,
    }  # fmt: skip


def _hunyuan(**more: Any) -> dict[str, Any]:
    return {
        "image_model": "hunyuan_video", "in_channels": 16, "patch_size": [1, 2, 2], "out_channels": 16, "vec_in_dim": 768,
        "axes_dim": [16, 56, 56], "meanflow": False, "context_in_dim": 4096, "hidden_size": 512, "mlp_ratio": 4.0, "num_heads": 4,
        "depth": 2, "depth_single_blocks": 2, "theta": 256, "qkv_bias": True, "byt5": False, "guidance_embed": True,
        "use_cond_type_embedding": False, "vision_in_dim": None, **more,
    }  # fmt: skip


def _wan(**more: Any) -> dict[str, Any]:
    return {
        "image_model": "wan2.1", "dim": 512, "out_dim": 16, "num_heads": 4, "ffn_dim": 1024, "num_layers": 2, "patch_size": (1, 2, 2),
        "freq_dim": 256, "window_size": (-1, -1), "qk_norm": True, "cross_attn_norm": True, "eps": 1e-6, "in_dim": 16, "model_type": "t2v",
        **more,
    }  # fmt: skip


def _lumina(
    dim: int, cap: int, heads: int, kv: int, axes: list[int], lens: list[int], theta: float, multiplier: float, **more: Any
) -> dict[str, Any]:
    return {
        "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": dim, "cap_feat_dim": cap, "n_layers": 1, "qk_norm": True,
        "n_heads": heads, "n_kv_heads": kv, "axes_dims": axes, "axes_lens": lens, "rope_theta": theta,
        "ffn_dim_multiplier": multiplier, **more,
    }  # fmt: skip


def _sd3(depth: int) -> dict[str, Any]:
    return {
        "in_channels": 16, "patch_size": 2, "out_channels": 16, "depth": depth, "input_size": None, "adm_in_channels": 2048,
        "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 64 * depth}},
        "num_patches": 576, "pos_embed_max_size": 24, "qk_norm": "rms", "pos_embed_scaling_factor": None, "x_block_self_attn_layers": [],
    }  # fmt: skip


CHROMA = {
    "image_model": "chroma", "axes_dim": [16, 56, 56], "num_heads": 24, "mlp_ratio": 4.0, "theta": 10000, "qkv_bias": True,
    "hidden_size": 3072, "context_in_dim": 4096, "patch_size": 2, "depth": 1, "depth_single_blocks": 1,
    "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 3072, "hidden_dim": 5120, "n_layers": 5,
}  # fmt: skip
PREDICT2 = {
    "image_model": "cosmos_predict2", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16,
    "patch_spatial": 2, "patch_temporal": 1, "model_channels": 2048, "concat_padding_mask": True, "crossattn_emb_channels": 1024,
    "pos_emb_cls": "rope3d", "pos_emb_learnable": True, "pos_emb_interpolation": "crop", "min_fps": 1, "max_fps": 30,
    "use_adaln_lora": True, "adaln_lora_dim": 256, "num_blocks": 28, "num_heads": 16, "extra_per_block_abs_pos_emb": False,
    "rope_h_extrapolation_ratio": 4.0, "rope_w_extrapolation_ratio": 4.0, "rope_t_extrapolation_ratio": 1.0,
    "extra_h_extrapolation_ratio": 1.0, "extra_w_extrapolation_ratio": 1.0, "extra_t_extrapolation_ratio": 1.0,
    "rope_enable_fps_modulation": False,
}  # fmt: skip

ARCHITECTURES = (
    Architecture("SD15", _unet(768, None, False, num_heads=8, num_head_channels=-1), (2, 4, 16, 16)),
    Architecture("SD20", _unet(1024, None, True), (2, 4, 32, 32)),
    Architecture("SDXL", _unet(2048, 2816, True, depth=(1, 2)), (2, 4, 16, 16), [1, 2]),
    Architecture("SDXLRefiner", _unet(1280, 2560, True, channels=384, depth=(1, 1)), (2, 4, 32, 32), [1, 1]),
    Architecture("SD3", _sd3(4), (2, 16, 32, 32)),
    Architecture("Flux", _flux(), (2, 16, 16, 16)),
    Architecture("FluxSchnell", _flux(guidance_embed=False), (2, 16, 16, 16)),
    Architecture("Chroma", CHROMA, (2, 16, 16, 16)),
    Architecture("WAN21_T2V", _wan(), (2, 16, 5, 16, 16)),
    Architecture("WAN22_T2V", _wan(in_dim=48, out_dim=48), (2, 48, 5, 16, 16)),
    Architecture("WAN21_I2V", _wan(in_dim=36, model_type="i2v"), (2, 16, 5, 16, 16)),
    Architecture("HunyuanVideo", _hunyuan(), (2, 16, 3, 16, 16)),
    Architecture(
        "HunyuanImage21",
        _hunyuan(vec_in_dim=None, context_in_dim=3584, patch_size=[2, 2], axes_dim=[64, 64], in_channels=64, out_channels=64),
        (2, 64, 16, 16),
    ),
    Architecture(
        "LTXV", {"image_model": "ltxv", "num_layers": 2, "attention_head_dim": 16, "cross_attention_dim": 512}, (2, 128, 4, 16, 16)
    ),
    Architecture("QwenImage", {"image_model": "qwen_image", "in_channels": 64, "num_layers": 1}, (2, 16, 1, 16, 16)),
    Architecture("Lumina2", _lumina(2304, 2304, 24, 8, [32, 32, 32], [300, 512, 512], 10000.0, 4.0), (2, 16, 16, 16)),
    Architecture(
        "ZImage",
        _lumina(3840, 2560, 30, 30, [32, 48, 48], [1536, 512, 512], 256.0, 8.0 / 3.0, z_image_modulation=True, time_scale=1000.0),
        (2, 16, 16, 16),
    ),
    Architecture(
        "PixArtSigma",
        {
            "image_model": "pixart_sigma",
            "num_heads": 16,
            "patch_size": 2,
            "hidden_size": 1152,
            "in_channels": 4,
            "depth": 2,
            "model_max_length": 300,
            "micro_condition": False,
            "input_size": 128,
            "pe_interpolation": 2,
        },
        (2, 4, 64, 64),
        extra={"pos_embed": (1, 4096, 1152)},
    ),
    Architecture("AuraFlow", {"max_seq": 1024, "cond_seq_dim": 2048, "n_double_layers": 1, "n_layers": 2}, (2, 4, 16, 16)),
    Architecture(
        "Flux2",
        _flux(
            image_model="flux2",
            axes_dim=[32] * 4,
            num_heads=48,
            mlp_ratio=3.0,
            theta=2000,
            out_channels=128,
            global_modulation=True,
            vec_in_dim=None,
            mlp_silu_act=True,
            qkv_bias=False,
            ops_bias=False,
            default_ref_method="index",
            ref_index_scale=10.0,
            patch_size=1,
            in_channels=128,
            hidden_size=6144,
            context_in_dim=15360,
        ),
        (2, 128, 8, 8),
    ),
    Architecture("CosmosT2IPredict2", PREDICT2, (2, 16, 1, 16, 16)),
)


def shapes(architecture: Architecture) -> dict[str, Any]:
    """Its state dict without memory."""
    import comfy.supported_models as known
    import torch

    kind = getattr(known, architecture.name)
    if architecture.depth:
        kind.unet_config = {**kind.unet_config, "transformer_depth": architecture.depth}
    config = kind(architecture.config)
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", device=torch.device("meta"))
    extra = {name: torch.empty(shape, device="meta") for name, shape in architecture.extra.items()}
    return {**model.diffusion_model.state_dict(), **extra}
