"""What a model is, by the names of its tensors: the ComfyUI folder it belongs to and its architecture.

A table, not code: the first row whose every pattern is found in some tensor's name decides.  It is a label for people
and for the choice of a folder; nothing is loaded by it, and whoever pushes can say something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LABEL_MAX = 64


@dataclass(frozen=True, slots=True)
class ModelKind:
    """folder: as ComfyUI calls it, "checkpoints"; both empty where nothing is recognised"""

    folder: str = ""
    architecture: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    folder: str
    architecture: str
    patterns: tuple[str, ...]


_LORA = r"(?:lora_up|lora_A|lora\.up|lora_B|lora_down|hada_w1_a|lokr_w1|oft_blocks|dora_scale)"
_ROWS = (
    # LoRAs, by the layers they change
    _Row("loras", "flux", (_LORA, r"(?:double_blocks|single_transformer_blocks)[._]\d")),
    _Row("loras", "sdxl", (_LORA, r"lora_te2_")),
    _Row("loras", "sdxl", (_LORA, r"(?:input_blocks_[78]_1|down_blocks_2_attentions_\d)_transformer_blocks_[1-9]")),
    _Row("loras", "wan", (_LORA, r"blocks[._]\d+[._](?:self|cross)_attn")),
    _Row("loras", "qwen-image", (_LORA, r"transformer_blocks[._]\d+[._](?:img|txt)_m")),
    _Row("loras", "sd1", (_LORA, r"(?:input_blocks|down_blocks)[._]\d")),
    _Row("loras", "", (_LORA,)),
    # ControlNets
    _Row("controlnet", "flux", (r"^controlnet_blocks\.\d", r"single_transformer_blocks|double_blocks")),
    _Row("controlnet", "sdxl", (r"^(?:control_model\.)?(?:controlnet_cond_embedding|input_hint_block)", r"label_emb|add_embedding")),
    _Row("controlnet", "sd1", (r"^(?:control_model\.)?(?:controlnet_cond_embedding|input_hint_block)",)),
    # whole checkpoints: the denoiser and something beside it
    _Row("checkpoints", "sdxl", (r"^model\.diffusion_model\.", r"^conditioner\.embedders\.1\.")),
    _Row("checkpoints", "sdxl-refiner", (r"^model\.diffusion_model\.", r"^conditioner\.embedders\.0\.model\.")),
    _Row("checkpoints", "sd2", (r"^model\.diffusion_model\.", r"^cond_stage_model\.model\.")),
    _Row("checkpoints", "sd1", (r"^model\.diffusion_model\.", r"^cond_stage_model\.transformer\.")),
    _Row("checkpoints", "sd3", (r"^model\.diffusion_model\.joint_blocks\.", r"^(?:first_stage_model|text_encoders)\.")),
    _Row("checkpoints", "flux", (r"^model\.diffusion_model\.double_blocks\.", r"^(?:vae|first_stage_model|text_encoders)\.")),
    _Row("checkpoints", "", (r"^model\.diffusion_model\.", r"^(?:vae|first_stage_model|text_encoders)\.")),
    # denoisers alone
    _Row("diffusion_models", "flux", (r"(?:^|\.)double_blocks\.0\.img_attn\.", r"(?:^|\.)single_blocks\.0\.")),
    _Row("diffusion_models", "sd3", (r"(?:^|\.)joint_blocks\.0\.",)),
    _Row("diffusion_models", "wan", (r"(?:^|\.)blocks\.0\.cross_attn\.", r"(?:^|\.)patch_embedding\.")),
    _Row("diffusion_models", "qwen-image", (r"(?:^|\.)transformer_blocks\.0\.img_mod\.",)),
    _Row("diffusion_models", "ltxv", (r"(?:^|\.)transformer_blocks\.0\.attn2\.", r"(?:^|\.)patchify_proj\.")),
    _Row("diffusion_models", "sdxl", (r"(?:^|\.)input_blocks\.0\.0\.", r"(?:^|\.)label_emb\.")),
    _Row("diffusion_models", "sd1", (r"(?:^|\.)input_blocks\.0\.0\.",)),
    _Row("diffusion_models", "sdxl", (r"^down_blocks\.0\.resnets\.", r"^add_embedding\.")),
    _Row("diffusion_models", "sd1", (r"^down_blocks\.0\.resnets\.", r"^time_embedding\.")),
    # encoders and what stands around them
    _Row("clip_vision", "", (r"^(?:vision_model\.encoder\.layers|visual\.transformer)\.",)),
    _Row("vae", "", (r"^(?:first_stage_model\.)?encoder\.conv_in\.", r"^(?:first_stage_model\.)?decoder\.conv_out\.")),
    _Row("vae", "wan", (r"^encoder\.conv1\.", r"^decoder\.head\.")),
    _Row("text_encoders", "t5", (r"(?:^|\.)block\.0\.layer\.0\.SelfAttention\.",)),
    _Row("text_encoders", "clip", (r"(?:^|\.)text_model\.encoder\.layers\.0\.",)),
    _Row("text_encoders", "llm", (r"(?:^|\.)model\.layers\.0\.self_attn\.",)),
    _Row("upscale_models", "esrgan", (r"^(?:model\.1\.sub\.0\.|body\.0\.rdb1\.|RRDB_trunk\.0\.)",)),
    _Row("embeddings", "", (r"^(?:emb_params|clip_l|clip_g|string_to_param.*)$",)),
)


def kind_of_model(names: Iterable[str], metadata: Mapping[str, str] | None = None) -> ModelKind:
    """Some 20 ms for 3,000 tensors.

    metadata: of the safetensors header; what it says of the architecture (modelspec) wins
    """
    text = "\n".join(names)
    said = label((metadata or {}).get("modelspec.architecture", ""))
    for row in _ROWS:
        if all(re.search(pattern, text, re.MULTILINE) for pattern in row.patterns):
            return ModelKind(row.folder, said or row.architecture)
    return ModelKind("", said)


def label(text: str) -> str:
    """Foreign text as a short label: letters, digits and a few signs, or nothing."""
    text = text.strip()
    return text if re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9 ._/+:-]{{0,{LABEL_MAX - 1}}}", text) else ""
