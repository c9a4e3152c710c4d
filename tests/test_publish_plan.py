"""Publishing's plain values: parts, metadata, the journal, and what a model is by its tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage.config import Config
from modelstream.storage.errors import ConfigError, PublishRefused
from modelstream.storage.model_kinds import kind_of_model
from modelstream.storage.publish_journal import Begun, Journal, kept_journals
from modelstream.storage.publish_plan import (
    META_BYTES_MAX,
    OBJECT_BYTES_MAX,
    PARTS_MAX,
    Labels,
    PartDone,
    metadata_of,
    part_bytes_for,
    plan,
    still_good,
)
from modelstream.storage.publish_source import FileIdentity, Hashes

MIB = 1 << 20
IDENTITY = FileIdentity(1000, 1, 2, 3)
BEGUN = Begun("o", "http://e", "b", "k", "/x/f", IDENTITY, Hashes(7, "ab"), "push", 5 * MIB, "upload", True, 1.0, {"sha256": "ab"})


@given(st.integers(1, OBJECT_BYTES_MAX), st.floats(0, 1e11), st.sampled_from([0, 5 * MIB, 100 * MIB]))
def test_any_size_has_at_most_ten_thousand_parts_that_s3_takes(size_bytes, rate, configured):
    part_bytes = part_bytes_for(size_bytes, rate, configured)
    assert 5 * MIB <= part_bytes <= 5 << 30 and part_bytes % MIB == 0
    assert -(-size_bytes // part_bytes) <= PARTS_MAX


@given(st.integers(1, 300 * MIB), st.integers(5, 64))
def test_parts_cover_the_file_exactly_once(size_bytes, part_mib):
    at = 0
    for number, part in enumerate(plan(size_bytes, part_mib * MIB), 1):
        assert (part.number, part.offset) == (number, at) and 0 < part.length <= part_mib * MIB
        at += part.length
    assert at == size_bytes


@given(st.sets(st.integers(1, 8)), st.sets(st.integers(1, 8)), st.sets(st.integers(1, 8)))
def test_only_parts_that_both_sides_know_alike_are_kept(noted, there, different):
    parts = plan(8 * 5 * MIB, 5 * MIB)
    ours = [PartDone(n, 5 * MIB, f"e{n}", n) for n in noted] + [PartDone(99, 5 * MIB, "e99", 0)]
    theirs = {n: (5 * MIB, "other" if n in different else f"e{n}") for n in there}
    kept = still_good(parts, ours, theirs)
    assert {done.number for done in kept} == (noted & there) - different


@given(st.builds(Labels, st.text(), st.text(), st.text(), st.text(), st.text()))
def test_metadata_is_ascii_and_fits_into_what_s3_takes(labels):
    found = metadata_of(labels, "ab" * 32, IDENTITY)
    assert sum(len(name) + len(value) for name, value in found.items()) <= META_BYTES_MAX
    assert all(value.isascii() and value.isprintable() and value == value.strip() for value in found.values())
    assert found["sha256"] == "ab" * 32


def test_a_journal_cut_off_at_any_byte_is_read_up_to_its_last_whole_line(tmp_path: Path):
    place = (tmp_path, "o", "b", "k", Path("/x/f"))
    done = [PartDone(n, 5, f"etag{n}", n * 11) for n in range(1, 4)]
    with Journal(*place) as journal:
        journal.begin(BEGUN)
        for one in done:
            journal.part_done(one)
        assert journal.read() == (BEGUN, tuple(done))
        file = journal.file
    whole = file.read_bytes()
    lines = whole.split(b"\n")
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        with Journal(*place) as journal:
            begun, parts = journal.read()
        complete = whole[:length].count(b"\n")
        assert begun == (BEGUN if length >= len(lines[0]) else None)
        assert parts == (tuple(done[: max(0, complete - 1)]) if begun else ())
        if not file.exists():
            file.touch()


@given(st.binary(max_size=300))
def test_a_journal_of_anything_is_no_journal(raw):
    from modelstream.storage.publish_journal import _parsed

    begun, parts = _parsed(raw)
    assert begun is None and parts == ()


def test_a_journal_is_held_by_one_and_an_empty_one_goes_away(tmp_path: Path):
    place = (tmp_path, "o", "b", "k", Path("/x/f"))
    with Journal(*place) as journal:
        with pytest.raises(PublishRefused):
            Journal(*place)
        assert [kept.busy for kept in kept_journals(tmp_path)] == [True]
        journal.begin(BEGUN)
        journal.forget()
    assert list(kept_journals(tmp_path)) == []


@pytest.mark.parametrize(
    ("names", "folder", "architecture"),
    [
        (
            ["model.diffusion_model.input_blocks.0.0.weight", "conditioner.embedders.1.model.x", "first_stage_model.a"],
            "checkpoints",
            "sdxl",
        ),
        (["model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.transformer.x"], "checkpoints", "sd1"),
        (["model.diffusion_model.double_blocks.0.x", "vae.encoder.x"], "checkpoints", "flux"),
        (["double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"], "diffusion_models", "flux"),
        (["blocks.0.cross_attn.q.weight", "patch_embedding.weight"], "diffusion_models", "wan"),
        (["lora_unet_input_blocks_7_1_transformer_blocks_2_attn1_to_k.lora_up.weight", "lora_te2_x.lora_up.weight"], "loras", "sdxl"),
        (["transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight"], "loras", "flux"),
        (["lora_unet_down_blocks_0_attentions_0_x.lora_down.weight"], "loras", "sd1"),
        (["encoder.conv_in.weight", "decoder.conv_out.weight"], "vae", ""),
        (["text_model.encoder.layers.0.mlp.fc1.weight"], "text_encoders", "clip"),
        (["encoder.block.0.layer.0.SelfAttention.k.weight"], "text_encoders", "t5"),
        (["model.1.sub.0.RDB1.conv1.0.weight"], "upscale_models", "esrgan"),
        (["controlnet_cond_embedding.conv_in.weight", "add_embedding.linear_1.weight"], "controlnet", "sdxl"),
        (["something.else"], "", ""),
    ],
)
def test_a_model_is_known_by_its_tensors(names, folder, architecture):
    kind = kind_of_model(names)
    assert (kind.folder, kind.architecture) == (folder, architecture)


@given(st.lists(st.text(max_size=60), max_size=20), st.text(max_size=100))
def test_what_a_header_says_of_its_architecture_is_a_short_label_or_nothing(names, said):
    found = kind_of_model(names, {"modelspec.architecture": said}).architecture
    assert len(found) <= 64 and found.isascii() and found.isprintable()


def test_publishing_and_results_name_origins_that_exist():
    base = '[profiles.p]\npreset = "aws"\n[[origins]]\nname = "m"\nbucket = "mmm"\n'
    config = Config.from_text(base + '[publish]\norigin = "m"\nenabled = true\nmax_gb = 2\n[results]\norigin = "m"\n')
    assert config.publish.max_bytes == 2 << 30 and config.results.origin == "m" and not Config.from_text(base).publish.enabled
    for section in ("publish", "results"):
        with pytest.raises(ConfigError):
            Config.from_text(f'{base}[{section}]\norigin = "other"\n')
