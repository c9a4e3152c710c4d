"""Loading, embeddings, headers, progress and the model library, over ComfyUI's own modules."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

import folder_paths
import pytest
import safetensors.torch
import torch
from comfy import clip_vision, model_management, sd1_clip, utils

from modelstream.cache.watch import LoadProgress
from modelstream.hooks.embeddings import EmbeddingsSeam
from modelstream.hooks.library import LibrarySeam
from modelstream.hooks.listing import ListingSeam
from modelstream.hooks.loading import LoadingSeam
from modelstream.hooks.progress import NodeWatch
from modelstream.hooks.resolving import ResolvingSeam
from modelstream.hooks.view_metadata import HeaderSeam, header_json
from modelstream.storage.errors import CorruptObject, PickleRefused
from modelstream.storage.events import LoadFailed, ModelLoaded
from modelstream.storage.safetensors_header import parse_header

ORIGINAL = [utils.load_torch_file]
"""in a list: the sweep rebinds every module's attribute, of this one too"""

KEY = "checkpoints/a.safetensors"
WEIGHTS = {"w": torch.arange(6, dtype=torch.float16).reshape(2, 3), "empty": torch.empty(0, 4)}


@pytest.fixture(autouse=True)
def loading(comfy: Any) -> Any:
    seam = LoadingSeam(comfy.runtime)
    comfy.seams.put_on(
        ListingSeam(comfy.runtime), ResolvingSeam(comfy.runtime), seam, EmbeddingsSeam(comfy.runtime), HeaderSeam(comfy.runtime)
    )
    assert {s.state for s in comfy.seams.states()} == {"on"}
    comfy.holds(KEY, "upscale_models/a.pth", "upscale_models/trusted/a.pth", "checkpoints/renamed.ckpt", "embeddings/e.safetensors")
    comfy.cache.tensors[KEY] = WEIGHTS
    comfy.cache.bodies[KEY] = safetensors.torch.save(WEIGHTS, {"made": "there"})
    return seam


def path_of(comfy: Any, key: str) -> str:
    folder, _, name = key.partition("/")
    from modelstream.hooks.folders import view_of

    return comfy.cache.path_for(comfy.runtime.catalog.find(view_of(folder), name))


# -- load_torch_file -------------------------------------------------------------------------------------------------
def test_a_bucket_objects_tensors_come_from_the_cache(comfy: Any) -> None:
    loaded = comfy_load(path_of(comfy, KEY))
    assert torch.equal(loaded["w"], WEIGHTS["w"])
    assert comfy.cache.asked == [("tensors", KEY)]
    assert comfy.cache.opened[0].closed == 1
    (event,) = [e for e in comfy.events if isinstance(e, ModelLoaded)]
    assert (event.subject, event.source, event.node) == (f"far:{KEY}", "bucket", "")


def comfy_load(*args: Any, **kwargs: Any) -> Any:
    return utils.load_torch_file(*args, **kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((False, None, True), {}), ((), {"return_metadata": True}), ((True, torch.device("cpu")), {"return_metadata": True})],
)
def test_metadata_comes_along_however_it_is_asked_for(comfy: Any, args: tuple, kwargs: dict) -> None:
    loaded, metadata = comfy_load(path_of(comfy, KEY), *args, **kwargs)
    assert set(loaded) == set(WEIGHTS)
    assert metadata == {"made": "here"}


def test_the_path_may_be_given_by_name(comfy: Any) -> None:
    assert set(comfy_load(ckpt=path_of(comfy, KEY))) == set(WEIGHTS)


def test_the_device_is_honoured(comfy: Any) -> None:
    loaded = comfy_load(path_of(comfy, KEY), device=torch.device("meta"))
    assert loaded["w"].device.type == "meta"


def test_every_other_file_is_read_by_comfyui(comfy: Any, tmp_path: Any) -> None:
    safetensors.torch.save_file(WEIGHTS, tmp_path / "x.safetensors", {"made": "elsewhere"})
    loaded, metadata = comfy_load(str(tmp_path / "x.safetensors"), return_metadata=True)
    assert torch.equal(loaded["w"], WEIGHTS["w"])
    assert metadata == {"made": "elsewhere"}
    assert comfy.cache.asked == []


def test_names_that_others_took_from_comfyui_are_rebound_and_given_back(comfy: Any, loading: Any) -> None:
    late = types.ModuleType("a_pack_that_came_late")
    late.__dict__["load_torch_file"] = ORIGINAL[0]
    sys.modules[late.__name__] = late
    try:
        assert clip_vision.load_torch_file is utils.load_torch_file is not ORIGINAL[0]
        assert late.load_torch_file is ORIGINAL[0]
        loading.sweep_once_more()
        assert late.load_torch_file is utils.load_torch_file
        comfy.seams.take_off()
        assert late.load_torch_file is clip_vision.load_torch_file is utils.load_torch_file is ORIGINAL[0]
    finally:
        del sys.modules[late.__name__]


def test_an_error_of_ours_reaches_the_node_and_is_told(comfy: Any) -> None:
    comfy.cache.error = CorruptObject("the bytes differ", subject=f"far:{KEY}", next_step="look")
    with pytest.raises(CorruptObject, match="What to do: look"):
        comfy_load(path_of(comfy, KEY))
    assert [(e.code, e.subject) for e in comfy.events if isinstance(e, LoadFailed)] == [("corrupt", f"far:{KEY}")]


def test_a_bug_of_ours_is_survived_by_comfyuis_own_reader(comfy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfy.cache, "open_tensors", lambda obj, watch: 1 / 0)
    loaded, metadata = comfy_load(path_of(comfy, KEY), return_metadata=True)
    assert torch.equal(loaded["w"], WEIGHTS["w"])
    assert metadata == {"made": "there"}
    assert next(s for s in comfy.seams.states() if s.name == "loading").reason.startswith("ZeroDivisionError")


def test_an_interrupt_is_no_bug(comfy: Any, in_a_node: Any) -> None:
    model_management.interrupt_current_processing(True)
    with in_a_node(), pytest.raises(model_management.InterruptProcessingException):
        comfy_load(path_of(comfy, KEY))
    assert comfy.cache.asked == [("tensors", KEY)]
    assert not model_management.processing_interrupted()


def test_a_pickle_is_refused_with_the_reason(comfy: Any) -> None:
    with pytest.raises(PickleRefused, match="run code"):
        comfy_load(path_of(comfy, "upscale_models/a.pth"))
    assert comfy.cache.asked == []


def test_an_allowed_pickle_is_read_with_weights_only(comfy: Any, tmp_path: Any) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}}, tmp_path / "a.pth")
    comfy.cache.bodies["upscale_models/trusted/a.pth"] = (tmp_path / "a.pth").read_bytes()
    assert torch.equal(comfy_load(path_of(comfy, "upscale_models/trusted/a.pth"))["w"], torch.ones(2))

    torch.save({"bad": os.system}, tmp_path / "bad.pth")
    comfy.cache.bodies["upscale_models/trusted/a.pth"] = (tmp_path / "bad.pth").read_bytes()
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        comfy_load(path_of(comfy, "upscale_models/trusted/a.pth"))


# -- headers ---------------------------------------------------------------------------------------------------------
def test_the_header_of_a_bucket_object_is_the_files(comfy: Any) -> None:
    body = comfy.cache.bodies[KEY]
    header = parse_header(body, len(body))
    comfy.cache.header = lambda obj: header
    raw = utils.safetensors_header(path_of(comfy, KEY), max_size=1 << 20)
    again = len(raw).to_bytes(8, "little") + raw + body[header.data_start :]
    assert parse_header(again, len(again)).tensors.keys() == header.tensors.keys()
    assert torch.equal(safetensors.torch.load(again)["w"], WEIGHTS["w"])
    assert utils.safetensors_header(path_of(comfy, KEY), 10) is None
    assert header_json(header) == raw


def test_the_header_of_a_file_on_disk_is_read_by_comfyui(comfy: Any, tmp_path: Any) -> None:
    safetensors.torch.save_file(WEIGHTS, tmp_path / "x.safetensors")
    assert utils.safetensors_header(str(tmp_path / "x.safetensors")).startswith(b"{")


# -- embeddings ------------------------------------------------------------------------------------------------------
def embed(name: str) -> Any:
    return sd1_clip.load_embed(name, folder_paths.get_folder_paths("embeddings"), 768, "clip_l")


@pytest.mark.parametrize("name", ["e", "e.safetensors", "sub\\..\\e"])
def test_an_embedding_comes_from_the_bucket(comfy: Any, name: str) -> None:
    comfy.cache.bodies["embeddings/e.safetensors"] = safetensors.torch.save({"clip_l": torch.ones(1, 768)})
    assert torch.equal(embed(name), torch.ones(1, 768))


def test_a_local_embedding_wins_even_when_it_cannot_be_read(comfy: Any) -> None:
    comfy.local("embeddings/e.safetensors", safetensors.torch.save({"clip_l": torch.zeros(1, 768)}))
    assert torch.equal(embed("e"), torch.zeros(1, 768))
    comfy.local("embeddings/e.safetensors", b"broken")
    assert embed("e") is None
    assert comfy.cache.asked == []


def test_an_embedding_that_is_nowhere_is_none(comfy: Any) -> None:
    assert embed("nowhere") is None
    assert sd1_clip.load_embed("e", ["/some/other/directory"], 768) is None


def test_a_pickled_embedding_is_refused(comfy: Any) -> None:
    comfy.holds("embeddings/p.pt")
    with pytest.raises(PickleRefused):
        embed("p")


# -- progress --------------------------------------------------------------------------------------------------------
class Server:
    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []

    def send_progress_text(self, text: str, node_id: str) -> None:
        self.texts.append((node_id, text))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setitem(sys.modules, "server", types.SimpleNamespace(PromptServer=types.SimpleNamespace(instance=made)))
    return made


def test_the_node_shows_name_bytes_rate_and_time_left(comfy: Any, in_a_node: Any, server: Server) -> None:
    bars: list[tuple] = []
    utils.set_progress_bar_global_hook(lambda value, total, preview, node_id=None: bars.append((value, total, node_id)))
    try:
        with in_a_node(), NodeWatch("sdxl.safetensors") as watch:
            watch.progress(LoadProgress(6_900_000_000, 1_200_000_000, 850e6, 6.7, "bucket"))
    finally:
        utils.set_progress_bar_global_hook(None)
    assert server.texts == [("4", "sdxl.safetensors · 1.2 / 6.9 GB · 850 MB/s · 6.7 s left")]
    assert bars == [(1144, 6580, "4")]


def test_texts_come_at_most_four_times_a_second(comfy: Any, in_a_node: Any, server: Server) -> None:
    now = [0.0]
    with in_a_node(), NodeWatch("x", clock=lambda: now[0]) as watch:
        for step in range(20):
            now[0] = step / 10
            watch.progress(LoadProgress(1000, step, 0.0, None, "ssd"))
    assert 4 <= len(server.texts) <= 8


def test_outside_a_node_nothing_is_shown_and_no_interrupt_is_taken(comfy: Any, server: Server) -> None:
    model_management.interrupt_current_processing(True)
    watch = NodeWatch("x")
    watch.check()
    watch.progress(LoadProgress(1000, 1, 0.0, None, "ssd"))
    assert server.texts == []
    assert model_management.processing_interrupted()
    model_management.interrupt_current_processing(False)


# -- the model library -----------------------------------------------------------------------------------------------
def test_the_model_library_lists_both_and_local_files_win(comfy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.model_manager import ModelFileManager

    app = types.SimpleNamespace(middlewares=[])
    monkeypatch.setitem(
        sys.modules, "server", types.SimpleNamespace(PromptServer=types.SimpleNamespace(instance=types.SimpleNamespace(app=app)))
    )
    comfy.seams.put_on(LibrarySeam(comfy.runtime))
    comfy.local("checkpoints/mine.safetensors")
    comfy.local("checkpoints/renamed.ckpt")
    listed = ModelFileManager().get_model_file_list("checkpoints")
    assert sorted((e["name"], e["size"]) for e in listed) == [("a.safetensors", 1000), ("mine.safetensors", 5), ("renamed.ckpt", 5)]
    assert {e["pathIndex"] for e in listed} == {0}
