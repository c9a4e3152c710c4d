"""Models are converted while they land: through the whole cache, from a real server behind the fault proxy."""

from __future__ import annotations

import json
import threading

import pytest
import torch
from safetensors.torch import load

from modelstream.cache import quantize
from modelstream.cache.opened import OpenTensors
from modelstream.cache.recipe import FORMS
from modelstream.cli.main import main
from modelstream.storage.errors import InvalidSafetensors, ModelStreamError
from modelstream.storage.events import Converted, TierDegraded, TransferStarted
from modelstream.storage.objects import RemoteObject
from modelstream.storage.safetensors_header import TensorInfo
from rig import faults
from rig.invariants import eventually
from rig.precision_models import file_of, wan_like
from rig.tiny_models import safetensors_bytes
from rig.transfers import MIB
from rig.whole_cache import CacheRig, cache_rig, cache_toml

KEY = "diffusion_models/wan.safetensors"


def converted_alone(weight: torch.Tensor, form: str) -> tuple[bytes, bytes] | None:
    """The weight's bytes and its scale's, without any transfer.  None: its error is too large, it stays."""
    raw = memoryview(weight.reshape(-1).view(torch.uint8).numpy()).cast("B")
    into = memoryview(bytearray(weight.numel()))
    names = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
    made = quantize.convert(raw, TensorInfo(names[weight.dtype], tuple(weight.shape), 0, len(raw)), FORMS[form], into)
    return (bytes(into), bytes(made.parts[0].raw)) if isinstance(made, quantize.Converted) else None


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def is_converted(state: dict[str, torch.Tensor], model: dict[str, torch.Tensor], form: str) -> None:
    """Every layer that bears it has the form's bytes, every other tensor its own."""
    for name, tensor in model.items():
        layer = name.startswith("blocks.") and tensor.dim() == 2
        alone = converted_alone(tensor, form) if layer else None
        if alone is not None:
            assert bytes_of(state[name]) == alone[0], name
            assert bytes_of(state[f"{name}_scale"]) == alone[1], name
        else:
            assert torch.equal(state[name], tensor), name
    assert len(state) == len(model) + sum(name.endswith("_scale") for name in state)


def image_of(rig: CacheRig, opened: OpenTensors) -> bytes:
    """The whole converted file; from now on the rig knows it as a version of an object."""
    image = memoryview(opened.buffer).cast("B")[: opened.size_bytes].tobytes()
    rig.knows(image)
    return image


def loading(
    rig: CacheRig, source: RemoteObject, model: dict[str, torch.Tensor], form: str, failed: list[BaseException]
) -> threading.Thread:
    """A thread, not yet started, that loads the model in that form and checks it."""

    def load() -> None:
        try:
            with rig.parts.cache.open_tensors(rig.parts.cache.in_precision(source, form)) as opened:
                image_of(rig, opened)
                is_converted(opened.state_dict(), model, form)
        except BaseException as error:  # handed to the test
            failed.append(error)

    return threading.Thread(target=load)


def transfers(rig: CacheRig) -> int:
    return sum(isinstance(event, TransferStarted) for event in rig.parts.events)


@pytest.mark.parametrize("form", ["fp8", "int8"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_only_the_converted_form_is_kept_and_the_second_load_converts_nothing(seaweed, tmp_path, form, dtype):
    model = wan_like(dtype=dtype)
    body = file_of(model)
    with cache_rig(seaweed, tmp_path / "ssd") as rig:
        source = rig.put(KEY, body)
        wanted = rig.parts.cache.in_precision(source, form)
        with rig.parts.cache.open_tensors(wanted) as opened:
            image_of(rig, opened)
            is_converted(opened.state_dict(), model, form)
            metadata = opened.metadata
            assert opened.source == "bucket" and opened.size_bytes < 0.62 * len(body)
        assert metadata is not None
        layers = json.loads(metadata["_quantization_metadata"])["layers"]
        assert layers["blocks.0.ffn.0"] == {"format": FORMS[form].algorithm}
        report = json.loads(metadata["modelstream_conversion"])
        assert len(report["errors"]) == 8 and not report["stays"]
        rig.restart()
        wanted = rig.parts.cache.in_precision(source, form)
        with rig.parts.cache.open_tensors(wanted) as opened:
            assert opened.source == "ssd" and opened.wire_bytes == 0
            is_converted(opened.state_dict(), model, form)
        assert not rig.parts.cache.is_on_disk(source)


def test_two_precisions_asked_for_at_once_are_one_transfer(seaweed, tmp_path):
    model = wan_like(blocks=6, width=512)
    with cache_rig(seaweed, tmp_path / "ssd", ram_bytes=64 * MIB) as rig:
        source = rig.put(KEY, file_of(model))
        gate = faults.Gate(600_000)
        rig.proxy.on(gate, path=KEY, covers=0)
        failed: list[BaseException] = []
        first = loading(rig, source, model, "fp8", failed)
        first.start()
        assert gate.reached.wait(10)
        second = loading(rig, source, model, "int8", failed)
        second.start()
        gate.release.set()
        for thread in (first, second):
            thread.join(60)
        if failed:
            raise failed[0]
        assert transfers(rig) == 1


def test_who_joins_late_reads_again_only_what_has_passed(seaweed, tmp_path):
    model = wan_like(blocks=8, width=512)
    body = file_of(model)
    with cache_rig(seaweed, tmp_path / "ssd", ram_bytes=64 * MIB) as rig:
        source = rig.put(KEY, body)
        gate = faults.Gate(100_000)
        rig.proxy.on(gate, path=KEY, covers=len(body) - 1000)
        failed: list[BaseException] = []
        first = loading(rig, source, model, "fp8", failed)
        first.start()
        assert gate.reached.wait(10)
        streams = rig.parts.cache._fetcher.conversions._streams
        assert eventually(lambda: any(stream._released > 4 for stream in streams.values()))
        second = loading(rig, source, model, "int8", failed)
        second.start()
        assert eventually(lambda: any(len(stream._readers) == 2 for stream in streams.values()))
        gate.release.set()
        for thread in (first, second):
            thread.join(60)
        if failed:
            raise failed[0]
        assert transfers(rig) == 1


def test_what_cannot_bear_it_stays_as_it_is_and_the_report_says_why(seaweed, tmp_path):
    model = wan_like()
    model["blocks.0.ffn.0.weight"][3, 5] = float("nan")
    model["blocks.0.self_attn.q.weight"][0, 0] = float("inf")
    model["blocks.1.ffn.0.weight"].zero_()
    wild = torch.full_like(model["blocks.1.self_attn.o.weight"], 1e-4)
    wild[0, 0] = 60000.0
    model["blocks.1.self_attn.o.weight"] = wild
    with cache_rig(seaweed, tmp_path / "ssd") as rig:
        source = rig.put(KEY, file_of(model))
        with rig.parts.cache.open_tensors(rig.parts.cache.in_precision(source, "int8")) as opened:
            image_of(rig, opened)
            state, metadata = opened.state_dict(), opened.metadata
        assert metadata is not None
        stays = json.loads(metadata["modelstream_conversion"])["stays"]
        assert {layer: why for layer, why in stays.items() if why != "error"} == {
            "blocks.0.ffn.0": "nan",
            "blocks.0.self_attn.q": "inf",
        }
        for layer in stays:
            assert bytes_of(state[f"{layer}.weight"]) == bytes_of(model[f"{layer}.weight"])
        assert not state["blocks.1.ffn.0.weight"].any() and state["blocks.1.ffn.0.weight_scale"].item() > 0
        event = next(event for event in rig.parts.events if isinstance(event, Converted))
        assert event.stays == len(stays) and event.layers == 8 - len(stays)


def test_when_every_layer_stays_there_is_room_for_all_of_them(seaweed, tmp_path):
    model = wan_like(blocks=4)
    for name, tensor in model.items():
        if tensor.dim() == 2 and name.startswith("blocks."):
            tensor[1, 1] = float("nan")
    with cache_rig(seaweed, tmp_path / "ssd") as rig:
        source = rig.put(KEY, file_of(model))
        with rig.parts.cache.open_tensors(rig.parts.cache.in_precision(source, "fp8")) as opened:
            image_of(rig, opened)
            state = opened.state_dict()
        assert all(bytes_of(state[name]) == bytes_of(tensor) for name, tensor in model.items())


def test_the_source_is_taken_from_memory_or_from_the_ssd_where_it_is(seaweed, tmp_path):
    model = wan_like()
    body = file_of(model)
    with cache_rig(seaweed, tmp_path / "ssd", body) as rig:
        source = rig.put(KEY, body)
        with rig.parts.cache.open_tensors(source):
            pass
        with rig.parts.cache.open_tensors(rig.parts.cache.in_precision(source, "fp8")) as opened:
            assert opened.source == "ram"
            image_of(rig, opened)
            is_converted(opened.state_dict(), model, "fp8")
        rig.restart()
        with rig.parts.cache.open_tensors(rig.parts.cache.in_precision(source, "int8")) as opened:
            assert opened.source == "ssd"
            image_of(rig, opened)
            is_converted(opened.state_dict(), model, "int8")
        assert transfers(rig) == 0


def test_a_model_no_table_knows_is_refused_with_the_reason(seaweed, tmp_path):
    body = safetensors_bytes("unknown", MIB)
    with cache_rig(seaweed, tmp_path / "ssd", body) as rig:
        source = rig.put("checkpoints/unknown.safetensors", body)
        with pytest.raises(InvalidSafetensors, match="no table"):
            rig.parts.cache.open_tensors(rig.parts.cache.in_precision(source, "fp8"))
        with pytest.raises(ModelStreamError, match="there is no precision"):
            rig.parts.cache.in_precision(source, "fp3")


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_changes_no_byte(seaweed, tmp_path, seed):
    model = wan_like(blocks=6, width=512, seed=seed)
    with cache_rig(seaweed, tmp_path / "ssd") as rig:
        source = rig.put(KEY, file_of(model))
        rig.proxy.on(faults.Storm(400 + seed, share=0.15), path=KEY, method=None, times=None)
        for _ in range(6):
            try:
                with rig.parts.cache.open_tensors(rig.parts.cache.in_precision(source, "fp8")) as opened:
                    image_of(rig, opened)
                    is_converted(opened.state_dict(), model, "fp8")
                    break
            except ModelStreamError:
                continue
        else:
            pytest.fail("no load came through")


def test_without_room_on_the_ssd_the_converted_model_is_used_from_memory(seaweed, tmp_path):
    model = wan_like()
    with cache_rig(seaweed, tmp_path / "ssd") as rig:
        source = rig.put(KEY, file_of(model))
        rig.parts.cache.set_budget("ssd", 1 << 16)
        wanted = rig.parts.cache.in_precision(source, "fp8")
        with rig.parts.cache.open_tensors(wanted) as opened:
            is_converted(opened.state_dict(), model, "fp8")
        assert eventually(lambda: not rig.parts.cache.snapshot().loading)
        assert not rig.parts.cache.is_on_disk(wanted) and rig.parts.cache.is_in_memory(wanted)
        assert any(isinstance(event, TierDegraded) for event in rig.parts.events)


def test_a_conversion_that_nobody_waits_for_any_more_leaves_nothing_behind(seaweed, tmp_path):
    """Half way; then it is asked for again.  Memory, leases and the SSD are counted by the rig."""
    model = wan_like(blocks=6, width=512)
    body = file_of(model)

    class Impatient:
        def progress(self, progress: object) -> None:
            return None

        def check(self) -> None:
            if gate.reached.is_set():
                raise KeyboardInterrupt

    with cache_rig(seaweed, tmp_path / "ssd", ram_bytes=64 * MIB) as rig:
        source = rig.put(KEY, body)
        gate = faults.Gate(100_000)
        rig.proxy.on(gate, path=KEY, covers=len(body) // 2)
        wanted = rig.parts.cache.in_precision(source, "fp8")
        with pytest.raises(KeyboardInterrupt):
            rig.parts.cache.open_tensors(wanted, Impatient())
        gate.release.set()
        assert eventually(lambda: not rig.parts.cache.snapshot().loading)
        assert rig.parts.cache.snapshot().ram.entries == ()
        with rig.parts.cache.open_tensors(wanted) as opened:
            image_of(rig, opened)
            is_converted(opened.state_dict(), model, "fp8")


def test_an_object_overwritten_meanwhile_is_converted_as_it_is_now(seaweed, tmp_path):
    old, new = wan_like(seed=1), wan_like(seed=2)
    with cache_rig(seaweed, tmp_path / "ssd") as rig:
        source = rig.put(KEY, file_of(old))
        rig.put(KEY, file_of(new))
        with rig.parts.cache.open_tensors(rig.parts.cache.in_precision(source, "fp8")) as opened:
            image_of(rig, opened)
            is_converted(opened.state_dict(), new, "fp8")


def test_a_converted_variant_is_pushed_and_is_read_like_any_file(seaweed, tmp_path, capsys):
    model = wan_like()
    file = tmp_path / "wan.safetensors"
    file.write_bytes(file_of(model))
    config = tmp_path / "config.toml"
    config.write_text(cache_toml(seaweed, seaweed.endpoint))
    config.chmod(0o600)
    where = ["--config", str(config), "--comfyui", str(tmp_path)]
    assert main(["push", str(file), "--recipe", "fp8", "--to", "rig:diffusion_models/", *where]) == 0
    assert "8 layers in fp8" in capsys.readouterr().out
    got = seaweed.client().get_object(Bucket=seaweed.bucket, Key="diffusion_models/wan-fp8.safetensors")
    is_converted(load(got["Body"].read()), model, "fp8")
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == ["wan.safetensors"]
    assert not list(tmp_path.glob(".modelstream-*"))
    unknown = tmp_path / "unknown.safetensors"
    unknown.write_bytes(safetensors_bytes("unknown", MIB))
    assert main(["push", str(unknown), "--recipe", "fp8", *where]) == 1
    assert "no table" in capsys.readouterr().err
    assert not list(tmp_path.glob(".modelstream-*"))
