"""The real ComfyUI with a queue: what is queued is on its way before its turn comes, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rig.browser import page_of
from rig.browser import why_not as why_no_browser
from rig.checkpoints import models
from rig.comfy import ComfyServer
from rig.faultproxy import FaultProxy
from rig.faults import CutBefore, Gate
from rig.invariants import eventually
from rig.seaweed import Seaweed
from rig.workflows import Graph, load_only, node

RATE_MBIT = 80
"""26 MB take 2.6 s"""

PACK = '''
"""A node that runs until a file is there, and a loader of another pack's."""
import os, threading
import folder_paths
from comfy import model_management

class Hold:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"gate": ("STRING", {})}}
    RETURN_TYPES, FUNCTION, CATEGORY = ("STRING",), "hold", "test"
    def hold(self, gate):
        path = os.path.join(folder_paths.get_temp_directory(), gate)
        while not os.path.exists(path):
            model_management.throw_exception_if_processing_interrupted()
            threading.Event().wait(0.02)
        return (gate,)

class OthersLoader:
    @classmethod
    def INPUT_TYPES(cls):
        names = ["none"] + folder_paths.get_filename_list("checkpoints")
        return {"required": {"which": (names,)}, "optional": {"after": ("STRING", {"forceInput": True})}}
    RETURN_TYPES, FUNCTION, CATEGORY = ("STRING",), "load", "test"
    def load(self, which, after=""):
        from comfy.utils import load_torch_file
        return (str(len(load_torch_file(folder_paths.get_full_path_or_raise("checkpoints", which)))),)

NODE_CLASS_MAPPINGS = {"Hold": Hold, "OthersLoader": OthersLoader}
'''

OPEN = """prompt => {
  const names = (window.app.graph._nodes ?? []).flatMap(node => (node.widgets ?? []).map(widget => widget.value));
  if (!names.includes('slow-8.safetensors')) window.app.loadApiJson(prompt, 'open'); }"""
"""again where the frontend has opened its own first graph since"""
CHANGED = """name => {
  if (window.asked === undefined) {
    window.asked = 0;
    const own = window.app.graphToPrompt;
    window.app.graphToPrompt = async function () { const made = await own.apply(this, arguments); window.asked += 1; return made; };
  }
  window.app.graph._nodes.flatMap(node => node.widgets ?? []).find(widget => widget.name === 'ckpt_name').value = name;
  window.app.api.dispatchCustomEvent('graphChanged'); }"""


@pytest.fixture(scope="module")
def bucket_models(seaweed: Seaweed) -> str:
    name, s3 = "look-ahead", seaweed.client()
    s3.create_bucket(Bucket=name)
    large = models("tiny", depth=4).path("checkpoints/tiny.safetensors").read_bytes()
    for one in range(10):  # each with bytes of its own, or they would be kept once
        s3.put_object(Bucket=name, Key=f"checkpoints/slow-{one}.safetensors", Body=large[:-2] + bytes([one, 0]))
    models("tiny").upload(s3, name)
    s3.upload_file(str(models("tiny").path("vae/tiny.safetensors")), name, "embeddings/far/style.safetensors")
    return name


@pytest.fixture(scope="module")
def proxy(seaweed: Seaweed) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.host, seaweed.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def comfy(seaweed: Seaweed, proxy: FaultProxy, bucket_models: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    base = tmp_path_factory.mktemp("comfy")
    pack = base / "custom_nodes" / "a-holder"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(PACK)
    more = (
        f"[transfer]\nrate_limit_mbit = {RATE_MBIT}\nretries = 1\nno_progress_s = 5\n[ssd]\nfree_floor_gb = 0.1\n[ram]\nbudget_gb = 0.08\n"
        "[prefetch]\nprompts_max = 12\nopen_graph = true\n"
    )
    with ComfyServer(config=seaweed.config_toml(bucket=bucket_models, url=proxy.url, more=more), base=base) as server:
        until(server, lambda: status(server)["origins"][0]["listed_s"], 60)
        yield server


def until(server: ComfyServer, holds: Any, within_s: float = 30) -> None:
    assert eventually(holds, within_s), (status(server)["prefetch"], status(server)["transfers"], server.log()[-2000:])


def status(server: ComfyServer) -> dict[str, Any]:
    return server.get("/modelstream/status")


def hold(gate: str) -> Graph:
    return {"1": node("Hold", gate=gate), "2": node("PreviewAny", source=["1", 0])}


def release(server: ComfyServer, gate: str) -> None:
    (server.base / "temp").mkdir(exist_ok=True)
    (server.base / "temp" / gate).touch()


def load(name: str, **more: Any) -> Graph:
    return load_only("CheckpointLoaderSimple", ckpt_name=name, **more)


def names(server: ComfyServer, action: str) -> list[str]:
    return decided(status(server), action)


def decided(now: dict[str, Any], action: str) -> list[str]:
    return [d["subject"].rsplit("/", 1)[-1].partition(".")[0] for d in now["prefetch"]["decisions"] if d["action"] == action]


def test_queued_models_are_there_when_their_turn_comes_in_the_queues_order(comfy: ComfyServer):
    running = comfy.submit(hold("one"))
    others = {"1": node("OthersLoader", which="slow-1.safetensors"), "2": node("PreviewAny", source=["1", 0])}
    text = {
        "1": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors"),
        "3": node("CLIPTextEncode", clip=["1", 1], text="a embedding:far/style"),
    }
    text["2"] = node("PreviewAny", source=["3", 0])
    queued = [comfy.submit(graph) for graph in (load("slow-0.safetensors"), others, text)]

    def all_there() -> bool:
        now = status(comfy)
        return not now["prefetch"]["running"] and decided(now, "fetch")[:4] == ["slow-0", "slow-1", "tiny", "style"]

    until(comfy, all_there, 60)
    release(comfy, "one")
    comfy.wait(running).expect()
    for prompt in queued:
        comfy.wait(prompt)
    loads = {entry["name"]: entry for entry in status(comfy)["loads"]}
    assert [loads[name]["source"] for name in ("slow-0.safetensors", "tiny.safetensors")] == ["ram"] * 2
    # these are asked for as files: by another's loader, and by ComfyUI's reader of embeddings
    assert [loads[name]["source"] for name in ("slow-1.safetensors", "far/style")] == ["ssd"] * 2
    assert all(entry["wire_bytes"] == 0 for entry in loads.values())
    totals = status(comfy)["prefetch"]["totals"]
    assert totals["useful"] == 4 and "wasted" not in totals


def test_deleting_and_clearing_stop_what_nobody_else_wants(comfy: ComfyServer):
    running = comfy.submit(hold("two"))
    first, second, third = (comfy.submit(load(f"slow-{number}.safetensors")) for number in (2, 3, 2))
    until(comfy, lambda: "slow-2" in names(comfy, "fetch"), 30)
    comfy.post("/queue", {"delete": [first]})
    comfy.post("/queue", {"delete": [second]})
    until(
        comfy, lambda: [r["subject"].rsplit("/", 1)[-1] for r in status(comfy)["prefetch"]["running"]] in ([], ["slow-2.safetensors"]), 10
    )
    assert "slow-2" not in names(comfy, "cancel"), "the third prompt still wants it"
    comfy.post("/queue", {"clear": True})
    until(comfy, lambda: not status(comfy)["prefetch"]["running"] and not status(comfy)["transfers"], 20)
    comfy.interrupt()
    assert comfy.wait(running).state == "interrupted"
    assert third


def test_what_only_the_interrupted_prompt_wanted_is_stopped(comfy: ComfyServer):
    graph = {
        **hold("three"),
        "3": node("OthersLoader", which="slow-4.safetensors", after=["1", 0]),
        "4": node("PreviewAny", source=["3", 0]),
    }
    running = comfy.submit(graph)
    until(comfy, lambda: "slow-4" in names(comfy, "fetch"), 30)
    comfy.interrupt()
    assert comfy.wait(running).state == "interrupted"
    until(comfy, lambda: not status(comfy)["prefetch"]["running"] and not status(comfy)["transfers"], 20)


def test_a_thousand_prompts_queued_and_cleared_leave_nothing_behind(comfy: ComfyServer):
    running = comfy.submit(hold("four"))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: comfy.submit(load(f"slow-{number % 6}.safetensors")), range(1000)))
    comfy.post("/queue", {"clear": True})
    until(comfy, lambda: not status(comfy)["prefetch"]["running"] and not status(comfy)["transfers"], 30)
    release(comfy, "four")
    comfy.wait(running).expect()
    comfy.prompt(load("slow-5.safetensors")).expect()
    assert status(comfy)["problem"] == ""


@pytest.mark.parametrize("hangs", [False, True], ids=["unreachable", "hanging"])
def test_an_outage_in_the_middle_of_a_fetch_ahead_hangs_nothing_and_the_prompt_runs_when_the_bucket_is_back(
    comfy: ComfyServer, proxy: FaultProxy, hangs: bool
):
    name = f"slow-{6 + hangs}"
    proxy.clear()
    gate = Gate(after_bytes=64 << 10)
    proxy.on(gate, path=name, covers=4 << 20)
    running = comfy.submit(hold(name))
    queued = comfy.submit(load(f"{name}.safetensors"))
    assert gate.reached.wait(30), "the fetch ahead is in the middle of the object"
    outage = Gate() if hangs else CutBefore()
    rule = proxy.on(outage, path=name, method=None, times=None)
    if not hangs:
        gate.release.set()
    until(comfy, lambda: name in names(comfy, "failed"), 90)
    assert rule.hits and status(comfy)["queue"]["running"] == 1
    proxy.clear()
    for one in (gate, outage):
        if isinstance(one, Gate):
            one.release.set()
    release(comfy, name)
    comfy.wait(running).expect()
    comfy.wait(queued, 90).expect()
    assert {one["name"] for one in status(comfy)["loads"]} >= {f"{name}.safetensors"}
    until(comfy, lambda: not status(comfy)["prefetch"]["running"] and not status(comfy)["transfers"], 20)


def test_the_graph_open_in_a_browser_is_fetched_behind_the_queue_onto_the_ssd_until_the_browser_goes(comfy: ComfyServer):
    def tell(prompt: Graph, client: str = comfy.client_id) -> int:
        token = {"X-Model-Stream-Token": comfy.get("/modelstream/token")["token"]}
        return comfy.request("POST", "/modelstream/graph", {"client_id": client, "prompt": prompt}, token).status

    assert status(comfy)["prefetch"]["open_graph"] is True
    assert tell(load("slow-8.safetensors"), "nobody-with-a-websocket") == 200
    assert tell(load("slow-9.safetensors")) == 200
    until(comfy, lambda: "slow-9" in decided(now := status(comfy), "fetch") and not now["prefetch"]["running"], 30)
    decision = [d for d in status(comfy)["prefetch"]["decisions"] if d["subject"].endswith("slow-9.safetensors")][-1]
    assert (decision["source"], decision["tier"]) == ("graph", "ssd")
    assert "slow-8" not in names(comfy, "fetch")
    assert tell({"1": {"class_type": "A", "inputs": {"text": "x" * (256 << 10)}}}) == 413
    assert comfy.request("POST", "/modelstream/graph", {"client_id": comfy.client_id, "prompt": {}}).status == 403
    assert tell({}) == 200


@pytest.mark.skipif(bool(why_no_browser()), reason=why_no_browser() or "-")
def test_the_frontend_tells_the_open_graph_when_its_models_changed_and_only_then(comfy: ComfyServer):
    told: list[str] = []
    with page_of(comfy, 1200, 800) as page:
        page.on("request", lambda request: told.append(request.post_data) if request.url.endswith("/modelstream/graph") else None)

        def opened() -> bool:
            page.evaluate(OPEN, load("slow-8.safetensors"))
            page.wait_for_timeout(200)
            return "slow-8" in names(comfy, "fetch")

        until(comfy, opened, 60)
        told_before = len(told)
        page.evaluate(CHANGED, "slow-8.safetensors")
        page.wait_for_function("() => window.asked === 1")
        page.evaluate(CHANGED, "tiny.safetensors")
        until(comfy, lambda: page.wait_for_timeout(50) or len(told) > told_before, 30)
        assert [("slow-8" in one, "tiny" in one) for one in told[told_before:]] == [(False, True)], "nothing when no name changed"
    until(comfy, lambda: not status(comfy)["prefetch"]["running"], 30)
