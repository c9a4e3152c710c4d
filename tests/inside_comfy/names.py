"""Listing and resolving, over ComfyUI's own folder_paths."""

from __future__ import annotations

import asyncio
import os
import threading
import types
from typing import Any

import folder_paths
import pytest

from modelstream.hooks.context import caller_module, streams_itself
from modelstream.hooks.folders import view_of
from modelstream.hooks.listing import ListingSeam, TaggedNames, merge
from modelstream.hooks.resolving import ResolvingSeam
from modelstream.storage.errors import PickleRefused
from modelstream.storage.events import LoadFailed, ModelLoaded


@pytest.fixture(autouse=True)
def _on(comfy: Any) -> None:
    comfy.seams.put_on(ListingSeam(comfy.runtime), ResolvingSeam(comfy.runtime))
    assert [s.state for s in comfy.seams.states()] == ["on", "on"]


ASKING = """
import folder_paths
def ask(*args): return folder_paths.get_full_path_or_raise(*args)
def maybe(*args): return folder_paths.get_full_path(*args)
"""


def module_that_asks(name: str) -> Any:
    """A function of a module of that name, which asks for a path as loaders do."""
    module = types.ModuleType(name)
    exec(ASKING, module.__dict__)
    return module


CORE = module_that_asks("nodes")
PACK = module_that_asks("/somewhere/custom_nodes/a_pack.loaders")
EXTRAS = module_that_asks(os.path.join(os.path.dirname(folder_paths.__file__), "comfy_extras", "nodes_upscale_model"))


# -- listing ---------------------------------------------------------------------------------------------------------
def test_bucket_and_local_names_are_one_sorted_list(comfy: Any) -> None:
    comfy.local("checkpoints/b.safetensors")
    comfy.holds("checkpoints/a.safetensors", "checkpoints/c/d.safetensors", "loras/x.safetensors")
    assert folder_paths.get_filename_list("checkpoints") == ["a.safetensors", "b.safetensors", "c/d.safetensors"]


def test_a_name_that_is_in_both_is_listed_once(comfy: Any) -> None:
    comfy.local("checkpoints/a.safetensors")
    comfy.holds("checkpoints/a.safetensors")
    assert folder_paths.get_filename_list("checkpoints") == ["a.safetensors"]


def test_the_list_knows_its_folder_and_keeps_it_when_a_node_adds_to_it(comfy: Any) -> None:
    comfy.holds("vae/a.safetensors")
    names = folder_paths.get_filename_list("vae")
    assert names.folder == "vae"
    none = ["none"]
    assert (none + names).folder == (names + none).folder == "vae"
    assert none + names == ["none", "a.safetensors"]


def test_a_caller_may_change_the_list_it_got(comfy: Any) -> None:
    comfy.holds("vae/a.safetensors")
    folder_paths.get_filename_list("vae").append("pixel_space")
    assert folder_paths.get_filename_list("vae") == ["a.safetensors"]


@pytest.mark.parametrize("name", ["sub/a.safetensors", "sub\\a.safetensors"])
def test_both_slashes_are_contained(comfy: Any, name: str) -> None:
    comfy.holds("loras/sub/a.safetensors")
    assert name in folder_paths.get_filename_list("loras")
    assert "sub/b.safetensors" not in folder_paths.get_filename_list("loras")
    assert 7 not in folder_paths.get_filename_list("loras")


def test_older_folder_names_mean_the_same_folder(comfy: Any) -> None:
    comfy.holds("unet/a.safetensors", "diffusion_models/b.safetensors", "clip/t.safetensors")
    assert folder_paths.get_filename_list("unet") == ["a.safetensors", "b.safetensors"]
    assert folder_paths.get_filename_list("diffusion_models") == ["a.safetensors", "b.safetensors"]
    assert folder_paths.get_filename_list("text_encoders") == ["t.safetensors"]


def test_a_packs_own_folder_takes_the_bucket_directory_that_it_takes_on_disk(comfy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = ([os.path.join(folder_paths.models_dir, "unet")], {".gguf"})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "unet_gguf", folders)
    comfy.holds("unet/a.gguf", "unet/a.safetensors")
    assert folder_paths.get_filename_list("unet_gguf") == ["a.gguf"]


@pytest.mark.parametrize("folder", ["custom_nodes", "configs", "classifiers", "diffusers"])
def test_code_and_folders_of_folders_take_nothing_from_a_bucket(comfy: Any, folder: str) -> None:
    comfy.holds(f"{folder}/a.py", f"{folder}/a.yaml", f"{folder}/a/model.safetensors")
    assert view_of(folder) is None
    assert folder_paths.get_filename_list(folder) == []
    assert CORE.maybe(folder, "a.py") is None


def test_an_unknown_folder_fails_as_it_does_without_us(comfy: Any) -> None:
    with pytest.raises(KeyError):
        folder_paths.get_filename_list("no such folder")
    assert folder_paths.get_full_path("no such folder", "a.safetensors") is None


def test_the_merged_list_is_made_once_until_something_changes(comfy: Any) -> None:
    seam = ListingSeam(comfy.runtime)
    comfy.holds("loras/a.safetensors")
    seam._with_remote("loras", ["x"])
    made = seam._merged["loras"]
    seam._with_remote("loras", ["x"])
    assert seam._merged["loras"] is made
    seam._with_remote("loras", ["x", "y"])
    assert seam._merged["loras"] is not made
    comfy.holds("loras/a.safetensors", "loras/b.safetensors")
    assert seam._with_remote("loras", ["x", "y"]) == ["a.safetensors", "b.safetensors", "x", "y"]


def test_merging_is_what_comfyui_would_have_sorted() -> None:
    local, remote = ["B", "a/x", "é"], ("A", "a/x", "b/c", "z")
    assert merge(local, remote) == sorted({*local, *remote})


def test_what_breaks_in_ours_leaves_comfyuis_own_list(comfy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    comfy.local("loras/mine.safetensors")
    monkeypatch.setattr(comfy.runtime.catalog, "names", lambda view: 1 / 0)
    assert folder_paths.get_filename_list("loras") == ["mine.safetensors"]
    assert next(s for s in comfy.seams.states() if s.name == "listing").reason.startswith("ZeroDivisionError")


def test_after_taking_off_comfyui_is_as_it_was(comfy: Any) -> None:
    comfy.holds("loras/a.safetensors")
    comfy.seams.take_off()
    assert folder_paths.get_filename_list("loras") == []
    assert type(folder_paths.get_filename_list("loras")) is list
    assert not hasattr(folder_paths.get_full_path, "__wrapped__")


def test_a_copy_of_the_list_is_tagged_too() -> None:
    assert TaggedNames(["a"], "vae").copy().folder == "vae"


# -- resolving -------------------------------------------------------------------------------------------------------
def test_a_local_file_wins(comfy: Any) -> None:
    path = comfy.local("checkpoints/a.safetensors")
    comfy.holds("checkpoints/a.safetensors")
    assert CORE.ask("checkpoints", "a.safetensors") == path


def test_core_gets_the_path_at_once_and_nothing_is_fetched(comfy: Any) -> None:
    comfy.holds("checkpoints/sub/a.safetensors")
    path = CORE.ask("checkpoints", "sub/a.safetensors")
    assert os.path.basename(path) == "a.safetensors"
    assert comfy.cache.object_at(path).id.key == "checkpoints/sub/a.safetensors"
    assert comfy.cache.asked == []
    assert CORE.ask("checkpoints", "sub\\a.safetensors") == path


def test_the_backslash_of_another_system_finds_local_files_too(comfy: Any) -> None:
    path = comfy.local("loras/sub/a.safetensors")
    assert CORE.ask("loras", "sub\\a.safetensors") == path


@pytest.mark.parametrize(
    "name", ["../checkpoints/a.safetensors", "/a.safetensors/../../a.safetensors", "..\\..\\etc\\passwd", "missing.safetensors", ""]
)
def test_a_name_outside_the_folder_is_not_found(comfy: Any, name: str) -> None:
    comfy.holds("loras/b.safetensors", "a.safetensors", "checkpoints/a.safetensors")
    assert CORE.maybe("loras", name) is None
    with pytest.raises(FileNotFoundError):
        CORE.ask("loras", name)


def test_somebody_else_in_a_node_gets_a_real_file(comfy: Any, in_a_node: Any) -> None:
    comfy.holds("loras/a.safetensors")
    comfy.cache.bodies["loras/a.safetensors"] = (2).to_bytes(8, "little") + b"{}" + bytes(8)
    with in_a_node():
        path = PACK.ask("loras", "a.safetensors")
    assert os.path.isfile(path)
    assert comfy.cache.asked == [("file", "loras/a.safetensors")]
    (loaded,) = [e for e in comfy.events if isinstance(e, ModelLoaded)]
    assert (loaded.folder, loaded.name, loaded.node, loaded.prompt) == ("loras", "a.safetensors", "4", "p1")


def test_a_file_that_was_handed_out_is_leased_until_a_later_prompt_asks(comfy: Any, in_a_node: Any) -> None:
    comfy.holds("loras/a.safetensors", "loras/b.safetensors")
    comfy.cache.bodies = dict.fromkeys(("loras/a.safetensors", "loras/b.safetensors"), (2).to_bytes(8, "little") + b"{}" + bytes(8))
    with in_a_node("p1"):
        PACK.ask("loras", "a.safetensors")
        PACK.ask("loras", "b.safetensors")
    assert [o.closed for o in comfy.cache.opened] == [0, 0]
    with in_a_node("p2"):
        PACK.ask("loras", "b.safetensors")
    assert [o.closed for o in comfy.cache.opened] == [1, 1, 0]
    comfy.seams.take_off()
    assert [o.closed for o in comfy.cache.opened] == [1, 1, 1]


def test_somebody_else_outside_a_node_never_starts_a_download(comfy: Any) -> None:
    comfy.holds("loras/a.safetensors")
    assert PACK.maybe("loras", "a.safetensors") is None
    assert comfy.cache.asked == []
    path = CORE.ask("loras", "a.safetensors")
    os.makedirs(os.path.dirname(path))
    open(path, "wb").close()
    assert PACK.maybe("loras", "a.safetensors") == path


def test_nobody_waits_on_the_event_loop(comfy: Any, in_a_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    comfy.holds("loras/a.safetensors")

    async def ask() -> Any:
        server = types.SimpleNamespace(PromptServer=types.SimpleNamespace(instance=types.SimpleNamespace(loop=asyncio.get_running_loop())))
        monkeypatch.setitem(__import__("sys").modules, "server", server)
        with in_a_node():
            return PACK.maybe("loras", "a.safetensors")

    assert asyncio.run(ask()) is None
    assert comfy.cache.asked == []


def test_the_loop_of_the_thread_that_runs_prompts_may_wait(comfy: Any, in_a_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    comfy.holds("loras/a.safetensors")
    comfy.cache.bodies["loras/a.safetensors"] = (2).to_bytes(8, "little") + b"{}" + bytes(8)
    main_loop = asyncio.new_event_loop()
    server = types.SimpleNamespace(PromptServer=types.SimpleNamespace(instance=None))
    monkeypatch.setitem(__import__("sys").modules, "server", server)
    found: list[Any] = []

    async def ask() -> None:
        server.PromptServer.instance = types.SimpleNamespace(loop=main_loop, send_progress_text=lambda *_: None)
        with in_a_node():
            found.append(PACK.ask("loras", "a.safetensors"))

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    thread.join()
    main_loop.close()
    assert len(found) == 1


def test_a_pickle_is_refused_before_a_byte_of_it_is_fetched(comfy: Any, in_a_node: Any) -> None:
    comfy.holds("upscale_models/a.pth")
    with in_a_node(), pytest.raises(PickleRefused, match="allow_pickles"):
        PACK.ask("upscale_models", "a.pth")
    assert comfy.cache.asked == []
    assert [type(e) for e in comfy.events if isinstance(e, LoadFailed)] == [LoadFailed]


def test_a_pickle_under_another_name_is_refused_once_it_shows(comfy: Any, in_a_node: Any) -> None:
    comfy.holds("loras/a.safetensors")
    comfy.cache.bodies["loras/a.safetensors"] = b"PK\x03\x04" + bytes(100)
    with in_a_node(), pytest.raises(PickleRefused):
        PACK.ask("loras", "a.safetensors")


def test_an_allowed_pickle_is_fetched(comfy: Any, in_a_node: Any) -> None:
    comfy.holds("upscale_models/trusted/a.pth")
    comfy.cache.bodies["upscale_models/trusted/a.pth"] = b"PK\x03\x04" + bytes(100)
    with in_a_node():
        assert os.path.isfile(PACK.ask("upscale_models", "trusted/a.pth"))


@pytest.mark.parametrize(
    ("asker", "core"),
    [(CORE, True), (EXTRAS, True), (PACK, False)]
    + [(module_that_asks(n), c) for n, c in (("comfy.sd", True), ("nodes_of_a_pack", False), ("comfyui_pack", False))],
)
def test_comfyuis_own_modules_are_told_from_others(comfy: Any, asker: Any, core: bool) -> None:
    comfy.holds("loras/a.safetensors")
    assert (asker.maybe("loras", "a.safetensors") is not None) is core
    assert streams_itself(asker.__name__) is core


def test_another_packs_wrapper_is_not_taken_for_the_caller(comfy: Any) -> None:
    comfy.holds("loras/a.safetensors")
    wrapper = types.ModuleType("/somewhere/custom_nodes/wrapping_pack")
    wrapper.__dict__["inner"] = folder_paths.get_full_path
    exec("def get_full_path(*args): return inner(*args)", wrapper.__dict__)
    core = types.ModuleType("nodes")
    core.__dict__["get"] = wrapper.get_full_path
    exec("def load(*args): return get(*args)", core.__dict__)
    assert core.load("loras", "a.safetensors") is not None


def test_a_call_from_nowhere_is_nobodys() -> None:
    assert caller_module(None) == ""
    assert not streams_itself("")
