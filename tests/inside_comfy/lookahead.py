"""Which models look-ahead finds in prompts: all of ComfyUI's own templates, over ComfyUI's own node classes and lists."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import folder_paths
import pytest
from comfy_execution.graph import DynamicPrompt, ExecutionList

import nodes
from modelstream.hooks.listing import ListingSeam
from modelstream.hooks.lookahead_boot import KEPT_S, BootFetch
from modelstream.hooks.lookahead_find import Finder
from modelstream.hooks.lookahead_order import execution_order
from modelstream.hooks.lookahead_prompt import model_refs
from modelstream.hooks.lookahead_shapes import ComfyShapes, widgets_of
from modelstream.hooks.lookahead_workflow import is_workflow, workflow_prompt
from modelstream.hooks.missing_seam import MissingModelsSeam
from modelstream.storage.config_prefetch import BootConfig
from modelstream.storage.events import ModelsMissing
from modelstream.storage.objects import ObjectId, RemoteObject

PACKAGE = "comfyui_workflow_templates_json"
NOT_RUN = {"flux1_dev_uso_reference_image_gen.json", "video_ltx2_i2v_lora.json"}
"""templates with loaders whose result nobody reads (in the second, the subgraph's output is not connected): ComfyUI never runs them"""
NEWER_FOLDERS = {"optical_flow", "geometry_estimation", "background_removal", "frame_interpolation", "detection"}
"""of node classes that ComfyUI 0.3.75 does not have; where it has them, their lists are tagged like all others"""


@pytest.fixture(scope="module", autouse=True)
def _all_nodes() -> None:
    asyncio.run(nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))


def templates() -> Iterator[tuple[str, Any]]:
    found = find_spec(PACKAGE)
    assert found is not None and found.submodule_search_locations
    for path in sorted((Path(next(iter(found.submodule_search_locations))) / "templates").glob("*.json")):
        workflow = json.loads(path.read_text("utf-8"))
        if is_workflow(workflow):
            yield path.name, workflow


def outputs_of(prompt: dict[str, Any], sinks: tuple[str, ...]) -> tuple[str, ...]:
    """As ``execution.validate_prompt`` finds them; a node class that is not here counts when nobody reads from it."""
    known = nodes.NODE_CLASS_MAPPINGS
    return tuple(
        node
        for node, values in prompt.items()
        if getattr(known.get(values["class_type"]), "OUTPUT_NODE", False) or (values["class_type"] not in known and node in sinks)
    )


def test_every_model_of_every_official_template_is_found_with_its_folder(comfy):
    comfy.seams.put_on(ListingSeam(comfy.runtime))
    read = [(name, workflow_prompt(workflow, widgets_of)) for name, workflow in templates()]
    assert len(read) > 500
    comfy.holds(*{f"{m.directory}/{m.name}" for _, found in read for m in found.models})
    finder, shapes = Finder(comfy.runtime.catalog, comfy.runtime.config), ComfyShapes()
    missed, unreached, unknown, reached_models = [], set(), set(), 0
    for name, found in read:
        targets = outputs_of(found.prompt, found.targets)
        refs = model_refs(found.prompt, targets, shapes)
        order = execution_order(found.prompt, targets, shapes)
        reached = {*order.certain, *order.perhaps}
        keys = {obj.id.key for obj in map(finder.find, refs) if obj is not None}
        for model in found.models:
            if model.node not in reached:
                unreached.add(name)
            elif model.directory not in folder_paths.folder_names_and_paths:
                unknown.add(model.directory)
            else:
                reached_models += 1
                missed += [(name, model)] if f"{model.directory}/{model.name}" not in keys else []
    assert not missed
    assert reached_models > 1000
    assert unreached <= NOT_RUN and unknown <= NEWER_FOLDERS


def core_order(prompt: dict[str, Any], targets: list[str]) -> list[str]:
    class Nothing:
        def get(self, *_: Any) -> None:
            return None

        def set(self, *_: Any) -> None: ...

    async def run() -> list[str]:
        execution = ExecutionList(DynamicPrompt(prompt), Nothing())
        for target in targets:
            execution.add_node(target)
        order = []
        while not execution.is_empty():
            node, error, _ = await execution.stage_node_execution()
            assert error is None, error
            order.append(node)
            execution.complete_node_execution()
        return order

    return asyncio.run(run())


def test_the_order_is_the_one_in_which_comfyui_itself_runs_the_nodes(comfy):
    shapes, compared = ComfyShapes(), 0
    for name, workflow in templates():
        found = workflow_prompt(workflow, widgets_of)
        if any(values["class_type"] not in nodes.NODE_CLASS_MAPPINGS for values in found.prompt.values()):
            continue
        targets = outputs_of(found.prompt, found.targets)
        assert list(execution_order(found.prompt, targets, shapes).certain) == core_order(found.prompt, list(targets)), name
        compared += 1
    assert compared > 50


def test_names_that_are_nearly_right_are_put_right_and_the_others_are_told_in_one_list(comfy):
    comfy.seams.put_on(ListingSeam(comfy.runtime))
    comfy.holds("checkpoints/SDXL/Base.safetensors", "loras/style.safetensors", "loras/a/two.safetensors", "loras/b/two.safetensors")
    seam = MissingModelsSeam(comfy.runtime, ComfyShapes())
    sent = {
        "prompt": {
            "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl\\base.safetensors"}},
            "2": {"class_type": "LoraLoader", "inputs": {"lora_name": "old/style.ckpt"}},
            "3": {"class_type": "LoraLoader", "inputs": {"lora_name": "two.safetensors"}},
            "4": {"class_type": "VAELoader", "inputs": {"vae_name": "nowhere.safetensors"}},
            "5": {"class_type": "LoraLoader", "inputs": {"lora_name": ["4", 0]}},
            "6": "strange",
        }
    }
    assert seam.on_prompt(sent) is sent and seam.trouble == ""
    assert sent["prompt"]["1"]["inputs"]["ckpt_name"] == "SDXL/Base.safetensors"
    assert sent["prompt"]["2"]["inputs"]["lora_name"] == "style.safetensors"
    assert sent["prompt"]["3"]["inputs"]["lora_name"] == "two.safetensors"
    (told,) = [event for event in comfy.events if isinstance(event, ModelsMissing)]
    assert told.names == ("loras/two.safetensors", "vae/nowhere.safetensors")
    assert seam.last()["missing"][0]["candidates"] == ["a/two.safetensors", "b/two.safetensors"]
    for odd in (None, [], {}, {"prompt": None}, {"prompt": {"1": {"class_type": "LoraLoader"}}}):
        assert seam.on_prompt(odd) is odd
    assert seam.trouble == ""


def test_a_workflows_own_md5_finds_a_model_under_another_name(comfy):
    comfy.seams.put_on(ListingSeam(comfy.runtime))
    comfy.bucket.list_pages = lambda: iter([(RemoteObject("far", ObjectId("e", "b", "vae/renamed.safetensors", "ab" * 16), 9, 1.0),)])
    comfy.runtime.catalog.refresh(wait=True)
    listed = {"name": "x.safetensors", "directory": "vae", "hash": "AB" * 16, "hash_type": "md5", "url": "http://169.254.169.254/"}
    workflow = {"nodes": [{"id": 1, "type": "VAELoader", "widgets_values": ["x.safetensors"], "properties": {"models": [listed]}}]}
    sent = {"prompt": {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "x.safetensors"}}}}
    sent["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
    MissingModelsSeam(comfy.runtime, ComfyShapes()).on_prompt(sent)
    assert sent["prompt"]["1"]["inputs"]["vae_name"] == "renamed.safetensors"


def test_the_boot_set_is_kept_for_its_time_whatever_the_clock_does(comfy, tmp_path):
    manifest = tmp_path / "set.toml"
    manifest.write_text('[[models]]\nname = "first.safetensors"\n')
    comfy.holds("checkpoints/first.safetensors", "checkpoints/other.safetensors")
    comfy.runtime.config = replace(comfy.runtime.config, boot=BootConfig(manifest=manifest))
    now = [1000.0]
    boot = BootFetch(comfy.runtime, clock=lambda: now[0])

    def names() -> list[str]:
        return [wish.obj.basename for wish in boot.wishes()]

    now[0] -= 1e9
    assert names() == ["first.safetensors"]
    now[0] += KEPT_S - 1
    assert names() == ["first.safetensors"] and boot.again_s() == pytest.approx(1.1)
    now[0] += 2
    assert names() == [] and boot.again_s() is None
    now[0] -= 1e9
    assert names() == [], "what has ended does not begin again"
    boot.close()
