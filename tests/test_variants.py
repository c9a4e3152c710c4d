"""Which files are one model in several precisions, and which of them is loaded."""

from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.cache.fit import EVICT, NO, OFFLOAD, UNKNOWN, WHOLE, Verdict
from modelstream.cache.variant_choice import Variant, choose_variant
from modelstream.storage.errors import InvalidSafetensors, NoRoom, ObjectMissing
from modelstream.storage.gguf_header import BLOCKS, parse_gguf
from modelstream.storage.safetensors_header import DTYPE_BITS, SafetensorsHeader, TensorInfo
from modelstream.storage.variant_rules import AT_MOST, BEST, RULES, SMALLEST, THIS
from modelstream.storage.variants import alike, family, precision, signature, stem

SHAPES = {"blocks.0.q.weight": (64, 256), "blocks.0.q.bias": (64,), "out.weight": (16, 256)}


def header(
    dtype: str, shapes: dict[str, tuple[int, ...]] = SHAPES, metadata: dict[str, str] | None = None, **more: TensorInfo
) -> SafetensorsHeader:
    found, at = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape) * DTYPE_BITS[dtype] // 8
        found[name] = TensorInfo(dtype, shape, at, at + size)
        at += size
    return SafetensorsHeader({**found, **more}, metadata, 0)


def gguf(kind: int, shapes: dict[str, tuple[int, ...]] = SHAPES, values: dict[str, object] | None = None) -> bytes:
    """A GGUF file without its data."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    written = struct.pack("<4sIQQ", b"GGUF", 3, len(shapes), len(values or {}))
    for name, value in (values or {}).items():
        written += text(name)
        if isinstance(value, list):
            written += struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)
        else:
            written += struct.pack("<I", 8) + text(str(value))
    at = 0
    for name, shape in shapes.items():
        used = kind if len(shape) > 1 else 0
        _, elements, size = BLOCKS[used]
        written += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), used, at)
        at += math.prod(shape) // elements * size
    return written


def read(body: bytes) -> SafetensorsHeader:
    return parse_gguf(lambda at, length: body[at : at + length], len(body) + 10_000_000)


# -- names -------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "names",
    [
        ("flux/flux1-dev.safetensors", "flux1-dev-fp8.safetensors", "flux1-dev-Q4_K_S.gguf", "flux1_dev_bf16.sft", "flux1-dev-f16.gguf"),
        ("qwen_image_bf16.safetensors", "qwen_image_fp8_e4m3fn.safetensors", "Qwen_Image-Q8_0.gguf", "qwen_image_nvfp4.safetensors"),
        ("wan2.2_t2v_high_14B_fp16.safetensors", "wan2.2_t2v_high_14B_fp8_scaled.safetensors", "wan2.2-t2v-high-14b-q5_k_m.gguf"),
        ("model.int8.safetensors", "model.fp32.safetensors", "model-IQ4_XS.gguf"),
    ],
)
def test_words_of_precision_are_no_part_of_a_models_name(names: tuple[str, ...]) -> None:
    assert len({stem(name) for name in names}) == 1
    assert alike(names[0], names) == names


def test_other_models_are_called_otherwise() -> None:
    names = ["wan2.2_high_fp16.safetensors", "wan2.2_low_fp16.safetensors", "sd_xl_base_1.0.safetensors", "sd_xl_base_0.9.safetensors"]
    assert len({stem(name) for name in names}) == 4
    assert alike("Q4_0.gguf", ["Q4_0.gguf", "Q8_0.gguf"]) == ("Q4_0.gguf",)  # a name of nothing else says nothing
    assert alike("a.safetensors", ["a.safetensors", "a.ckpt"]) == ("a.safetensors",)


# -- headers -----------------------------------------------------------------------------------------------------------------
def test_the_same_model_in_every_precision_has_one_signature() -> None:
    wanted = signature(header("F32"))
    scale = {"blocks.0.q.scale_weight": TensorInfo("F32", (), 0, 4), "scaled_fp8": TensorInfo("F8_E4M3", (0,), 0, 0)}
    assert signature(header("F8_E4M3", **scale)) == wanted
    assert signature(header("BF16", {f"model.diffusion_model.{name}": shape for name, shape in SHAPES.items()})) == wanted
    packed = header("F16")
    info = TensorInfo("U8", (64, 128), 0, 64 * 128)
    four = {**packed.tensors, "blocks.0.q.weight": info, "blocks.0.q.weight_scale": TensorInfo("F8_E4M3", (64, 16), 0, 1024)}
    assert signature(SafetensorsHeader(four, None, 0)) == wanted
    for kind in (1, 8, 12, 2):
        assert signature(read(gguf(kind))) == wanted
    assert signature(header("F16", {**SHAPES, "out.weight": (16, 512)})) != wanted
    assert signature(header("F16", {**SHAPES, "more.weight": (1,)})) != wanted


def test_bits_are_those_of_the_bytes_and_the_format_that_of_most_weights() -> None:
    assert (precision(header("F16")).format, precision(header("F16")).bits) == ("fp16", 16.0)
    assert precision(header("F8_E4M3")).format == "fp8"
    found = precision(read(gguf(12)))
    assert found.format == "Q4_K" and 4.5 < found.bits < 4.7
    layers = {"layers": {"blocks.0.q": {"format": "nvfp4"}, "out": {"format": "nvfp4"}}}
    assert precision(header("F16", metadata={"_quantization_metadata": json.dumps(layers)})).format == "nvfp4"
    for bad in ("[", "[]", '{"layers": 3}', '{"layers": {"a": 1}}', "[" * 5000):
        assert precision(header("F16", metadata={"_quantization_metadata": bad})).format == "fp16"


def test_a_family_leaves_out_whose_header_disagrees_and_says_so() -> None:
    headers = {
        "a.safetensors": header("F16"),
        "a-fp8.safetensors": header("F8_E4M3"),
        "a-Q4_K.gguf": read(gguf(12)),
        "a-bf16.safetensors": header("BF16", {**SHAPES, "blocks.1.q.weight": (64, 256)}),
        "a-fp32.safetensors": "its header cannot be read",
        "a-int8.safetensors": header("I8", metadata={"modelspec.architecture": "other"}),
    }
    headers["a.safetensors"] = header("F16", metadata={"modelspec.architecture": "this"})
    found = family("a.safetensors", headers, dict.fromkeys(headers, 7))
    assert [one.name for one in found.members] == ["a.safetensors", "a-fp8.safetensors", "a-Q4_K.gguf"]
    assert dict(found.strangers) == {
        "a-bf16.safetensors": "its tensors are not those of a.safetensors",
        "a-fp32.safetensors": "its header cannot be read",
        "a-int8.safetensors": "its metadata names another model than that of a.safetensors",
    }


# -- GGUF --------------------------------------------------------------------------------------------------------------------
def test_a_gguf_header_is_read_with_its_values_and_the_shapes_that_torch_has() -> None:
    found = read(gguf(8, values={"general.architecture": "flux", "list": [1, 2, 3], "comfy.gguf.orig_shape.out.weight": "4"}))
    assert found.metadata == {"general.architecture": "flux", "comfy.gguf.orig_shape.out.weight": "4"}
    assert found.tensors["blocks.0.q.weight"].shape == (64, 256) and found.tensors["blocks.0.q.weight"].dtype == "Q8_0"
    assert found.tensors["blocks.0.q.bias"].dtype == "F32" and found.data_start % 32 == 0


@given(st.binary(max_size=200))
def test_no_bytes_make_the_gguf_reader_do_anything_but_read_or_refuse(tail: bytes) -> None:
    for body in (tail, b"GGUF" + tail, gguf(1)[: len(tail)], gguf(1)[:24] + tail, gguf(12)[:40] + tail):
        try:
            parse_gguf(lambda at, length, body=body: body[at : at + length], len(body))
        except InvalidSafetensors as error:
            assert error.cause


def test_a_gguf_header_that_claims_the_absurd_is_refused_at_once() -> None:
    for claimed in (
        struct.pack("<4sIQQ", b"GGUF", 3, 1 << 60, 0),
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1 << 60),
        struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 1 << 60),
        struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"a", 9, 8, 1 << 60),
        struct.pack("<4sIQQ", b"GGUF", 9, 0, 0),
    ):
        with pytest.raises(InvalidSafetensors):
            read(claimed)


# -- the rule ----------------------------------------------------------------------------------------------------------------
def variant(name: str, bits: float, kind: str = WHOLE, problem: str = "", size: int = 0, off: int = 0, missing: int = 0) -> Variant:
    verdict = Verdict(
        kind, "cuda:0", going=("x",) if kind == EVICT else (), offload_bytes=off, missing_bytes=missing, reason="device memory"
    )
    return Variant(name, "f", bits, size or int(bits * 100), verdict, problem)


def test_the_best_that_fits_has_the_most_bits_of_those_that_fit_whole() -> None:
    some = [variant("32", 32, OFFLOAD, off=9), variant("16", 16, EVICT), variant("8", 8), variant("4", 4)]
    assert choose_variant(some, "32", BEST).variant.name == "16"
    assert "after x left" in choose_variant(some, "32", BEST).why
    assert dict(choose_variant(some, "32", BEST).others)["32"].endswith("would stay in host memory")


def test_where_none_fits_whole_the_least_stays_behind() -> None:
    some = [variant("16", 16, OFFLOAD, off=900), variant("8", 8, OFFLOAD, off=300), variant("4", 4, NO, missing=1)]
    assert choose_variant(some, "16", BEST).variant.name == "8"


def test_where_nothing_fits_the_error_says_what_is_missing_and_what_would_help() -> None:
    with pytest.raises(NoRoom, match=r"8 comes nearest.*publish a smaller variant"):
        choose_variant([variant("16", 16, NO, missing=9), variant("8", 8, NO, missing=3)], "16", BEST)


def test_the_other_rules() -> None:
    some = [variant("16", 16), variant("8", 8), variant("q8", 8.5, problem="no loader for GGUF"), variant("4", 4, NO)]
    assert choose_variant(some, "16", SMALLEST).variant.name == "4"
    assert choose_variant(some, "16", AT_MOST, 10).variant.name == "8"
    assert choose_variant(some, "q8", THIS).variant.name == "q8"
    assert choose_variant([variant("a", 8, UNKNOWN), variant("b", 16, UNKNOWN)], "b", BEST).variant.name == "b"
    with pytest.raises(ObjectMissing, match="at most 2 bits"):
        choose_variant(some, "16", AT_MOST, 2)
    with pytest.raises(NoRoom, match="no loader"):
        choose_variant([variant("q8", 8.5, problem="no loader")], "q8", BEST)


@given(
    st.lists(
        st.tuples(st.sampled_from([32.0, 16.0, 8.0, 4.5]), st.sampled_from([WHOLE, EVICT, OFFLOAD, NO]), st.booleans(), st.integers(1, 99)),
        min_size=1, max_size=6,
    ),
    st.sampled_from(RULES),
    st.randoms(),
)  # fmt: skip
def test_the_same_values_in_any_order_give_the_same_choice_and_never_one_that_cannot_be_loaded(rows, rule, random) -> None:
    some = [variant(str(n), bits, kind, "no" if bad else "", size, size, size) for n, (bits, kind, bad, size) in enumerate(rows)]
    shuffled = random.sample(some, len(some))

    def asked(variants):
        try:
            return choose_variant(variants, "0", rule, 8.0)
        except (NoRoom, ObjectMissing) as error:
            return str(error)

    found = asked(some)
    assert found == asked(shuffled)
    if not isinstance(found, str):
        assert rule == THIS or not found.variant.problem
        assert rule != AT_MOST or found.variant.bits <= 8
        assert len(found.others) == len(some) - 1
        if rule == BEST:
            assert found.variant.verdict.kind != NO
