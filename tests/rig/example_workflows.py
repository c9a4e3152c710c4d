"""The example workflows, as the real frontend writes them: ``python -m tests.rig.example_workflows`` makes them and their pictures.

Each is told here in the API format with the place of every node; the frontend lays it out, runs it against a bucket of tiny
models, and what it then serialises and shows is what lies in ``example_workflows/``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .browser import page_of, without_banner
from .checkpoints import ROOT, models
from .comfy import ComfyServer
from .seaweed import Seaweed
from .workflows import Graph, node, text_to_image

FOLDER = ROOT / "example_workflows"
BUCKET = "examples"
CHECKPOINTS = ("sd15.safetensors", "sd15-inpainting.safetensors")
LORA = "style.safetensors"
SIZE = (1900, 1150)
SCALE, LEFT, TOP, EDGE = 0.85, 90, 150, 20
SIZES = {"PreviewImage": (460, 300), "ModelStreamStatus": (290, 180)}
SHOW = """async ([graph, name, places, note, noteAt, scale, left, top, sizes]) => {
  await window.app.loadApiJson(graph, name);
  for (const n of window.app.graph._nodes) { const p = places[String(n.id)]; if (p) n.pos = p; }
  for (const n of window.app.graph._nodes) { const s = sizes[n.type]; if (s) n.size = s; }
  const text = window.LiteGraph.createNode("MarkdownNote");
  text.pos = noteAt; text.size = [380, 190]; text.widgets[0].value = note; text.title = "About";
  window.app.graph.add(text);
  await new Promise((resolve) => setTimeout(resolve, 300));
  window.app.canvas.ds.scale = scale; window.app.canvas.ds.offset = [left / scale, top / scale + 40];
  window.app.graph.setDirtyCanvas(true, true);
}"""
EXTENT = """() => {
  const ends = window.app.graph._nodes.map((n) => [n.pos[0] + n.size[0], n.pos[1] + n.size[1]]);
  return [Math.max(...ends.map((e) => e[0])), Math.max(...ends.map((e) => e[1]))];
}"""
SERIALISE = "() => JSON.stringify(window.app.graph.serialize(), null, 1)"
PROMPT = "async () => (await window.app.graphToPrompt()).output"
OPEN = "async (workflow) => { await window.app.loadGraphData(workflow); return (await window.app.graphToPrompt()).output; }"


@dataclass(frozen=True)
class Example:
    name: str
    note: str
    graph: Graph
    places: Mapping[str, tuple[int, int]]
    note_at: tuple[int, int]


def _picture(**loader: Any) -> Graph:
    graph = text_to_image(CHECKPOINTS[0], lora=LORA, latent="sd", size=512, steps=20, seed=7, text="a lighthouse at dusk, oil painting")
    graph["4"] = loader.get("loader") or graph["4"]
    return graph


_PLACES = {"4": (0, 0), "10": (0, 230), "6": (440, 0), "7": (440, 250), "5": (440, 500), "3": (880, 0), "8": (1220, 0), "9": (1220, 110)}


def examples() -> tuple[Example, ...]:
    """By name, which is the file's."""
    load = node("ModelStreamLoadCheckpoint", ckpt_name=CHECKPOINTS[0], origin="nearest", keep="auto")
    ahead = _picture()
    ahead["20"] = node("ModelStreamPrefetch", models=f"checkpoints/{CHECKPOINTS[1]}", tier="ram", wait=False)
    keep: Graph = {
        "1": node("ModelStreamBrowser", folder="loras", pattern="*", refresh=True),
        "2": node("ModelStreamPin", models=["1", 0], action="pin"),
        "3": node("ModelStreamWait", models=["1", 0], tier="ssd", timeout_s=0.0, after=["2", 0]),
        "4": node("ModelStreamStatus", after=["3", 0]),
        "5": node("PreviewImage", images=["4", 1]),
    }
    return (
        Example(
            "stream-a-checkpoint",
            "**Stream a checkpoint**\n\nThe checkpoint and the LoRA come from your bucket. Stock loaders list bucket models too; "
            "this loader also chooses the origin and where the model is kept.",
            _picture(loader=load),
            {**_PLACES, "10": (0, 260)},
            (0, 500),
        ),
        Example(
            "prefetch-the-next-model",
            "**Prefetch the next model**\n\nWhile this picture is made, the checkpoint of the next one is fetched into RAM. "
            "It gives way to every load.",
            ahead,
            {**_PLACES, "20": (0, 420)},
            (880, 420),
        ),
        Example(
            "keep-my-loras-near",
            "**Keep my LoRAs near**\n\nLists the LoRAs of the bucket, pins them, waits until all are on the SSD, and draws what is where.",
            keep,
            {"1": (0, 0), "2": (430, 0), "3": (430, 380), "4": (880, 0), "5": (1200, 0)},
            (0, 380),
        ),
    )


def fill(seaweed: Seaweed) -> str:
    """A bucket with tiny models under the names that the examples use; its configuration."""
    tiny, s3 = models("tiny"), seaweed.client()
    s3.create_bucket(Bucket=BUCKET)
    for name in CHECKPOINTS:
        s3.upload_file(str(tiny.path("checkpoints/tiny.safetensors")), BUCKET, f"checkpoints/{name}")
    s3.upload_file(str(tiny.path("loras/tiny.safetensors")), BUCKET, f"loras/{LORA}")
    return seaweed.config_toml(bucket=BUCKET, more="[ssd]\nfree_floor_gb = 0.1\n")


def small(graph: Graph) -> Graph:
    """The same prompt in a size and number of steps that tiny models can do."""
    for one in graph.values():
        for name, value in (("width", 64), ("height", 64), ("steps", 1)):
            if name in one["inputs"]:
                one["inputs"][name] = value
    return graph


def main() -> None:
    from PIL import Image

    FOLDER.mkdir(exist_ok=True)
    with Seaweed() as seaweed, ComfyServer(config=fill(seaweed)) as server:
        server.post("/settings/Comfy.TutorialCompleted", True)
        server.post("/settings/Comfy.Minimap.Visible", False)
        with page_of(server, *SIZE) as page:
            without_banner(page, SIZE)
            for example in examples():
                page.evaluate(
                    SHOW, [example.graph, example.name, dict(example.places), example.note, example.note_at, SCALE, LEFT, TOP, SIZES]
                )
                text = page.evaluate(SERIALISE)
                server.prompt(small(page.evaluate(PROMPT))).expect()
                if example.graph["5"]["class_type"] == "PreviewImage":
                    page.evaluate("() => window.app.queuePrompt(0, 1)")
                    page.wait_for_function("() => window.app.graph._nodes.some((n) => n.imgs?.length)")
                    page.wait_for_timeout(500)  # the canvas draws it
                right, bottom = ((at + shift) * SCALE for at, shift in zip(page.evaluate(EXTENT), (0, 40), strict=True))
                whole = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                shot = whole.crop((LEFT - EDGE, TOP - EDGE, int(LEFT + right) + EDGE, int(TOP + bottom) + EDGE))
                shot.save(FOLDER / f"{example.name}.jpg", quality=82)
                (FOLDER / f"{example.name}.json").write_text(json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n", "utf-8")
                print(FOLDER / f"{example.name}.json")


if __name__ == "__main__":
    main()
