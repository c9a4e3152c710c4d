"""Which model was meant by a name that no list has: over plain values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelstream.hooks.missing_names import NAMES_MAX, of_same_content, resolve

NAMES = ["SDXL/Base.safetensors", "sd15.ckpt", "a/two.safetensors", "b/two.safetensors", "deep/er/Flux.gguf", "notes.txt"]


def test_one_candidate_is_an_answer_and_two_are_told():
    found = {
        name: (resolve(name, NAMES).name, resolve(name, NAMES).why)
        for name in ("sdxl\\base.safetensors", "base.SAFETENSORS", "sd15.safetensors", "x/flux.safetensors")
    }
    assert found == {
        "sdxl\\base.safetensors": ("SDXL/Base.safetensors", "its letters or slashes differ"),
        "base.SAFETENSORS": ("SDXL/Base.safetensors", "in another subfolder"),
        "sd15.safetensors": ("sd15.ckpt", "with another extension"),
        "x/flux.safetensors": ("deep/er/Flux.gguf", "in another subfolder and with another extension"),
    }
    two = resolve("two.safetensors", NAMES)
    assert two.name == "" and two.candidates == ("a/two.safetensors", "b/two.safetensors")
    assert resolve("notes.safetensors", NAMES).name == "" and resolve("absent.safetensors", NAMES).candidates == ()


def test_the_same_content_is_found_under_any_name_and_goes_before_a_guess_by_name():
    versions = [("SDXL/Base.safetensors", "ab" * 16), ("sd15.ckpt", "cd" * 16 + "-3")]
    same = of_same_content("AB" * 16, "MD5", versions)
    assert resolve("whatever.safetensors", NAMES, same).name == "SDXL/Base.safetensors"
    assert of_same_content("ab" * 32, "SHA256", versions) == () and of_same_content("cd" * 16, "md5", versions) == ()


def test_a_list_that_is_too_long_for_the_event_loop_is_left_alone():
    assert resolve("X.safetensors", ["x.safetensors"] * (NAMES_MAX + 1)).name == ""


@given(st.text(max_size=20), st.lists(st.text(max_size=12), max_size=6))
def test_an_answer_is_always_one_of_the_names(wanted, names):
    found = resolve(wanted, names)
    assert found.name == "" or found.name in names
    assert set(found.candidates) <= set(names)
