"""The example workflows, opened in the real frontend and run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from rig.browser import page_of
from rig.comfy import ComfyServer
from rig.example_workflows import FOLDER, OPEN, examples, fill, small
from rig.seaweed import Seaweed

NAMES = tuple(example.name for example in examples())


@pytest.fixture(scope="module")
def server(seaweed: Seaweed) -> Iterator[ComfyServer]:
    with ComfyServer(config=fill(seaweed)) as server:
        server.post("/settings/Comfy.TutorialCompleted", True)
        yield server


@pytest.fixture(scope="module")
def page(server: ComfyServer) -> Iterator[Any]:
    with page_of(server, 1200, 800) as page:
        yield page


def test_every_example_has_a_file_and_a_picture_and_nothing_else_is_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.{kind}" for name in NAMES for kind in ("json", "jpg")}
    for name in NAMES:
        with Image.open(FOLDER / f"{name}.jpg") as picture:
            assert picture.format == "JPEG" and picture.width >= 1000
    assert all((FOLDER / f"{name}.jpg").stat().st_size < 300_000 for name in NAMES)


def test_comfyui_offers_them_as_templates(server: ComfyServer) -> None:
    offered = server.get("/workflow_templates")
    assert set(offered["model-stream"]) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_opens_in_the_frontend_and_runs(server: ComfyServer, page: Any, name: str) -> None:
    workflow = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    graph = page.evaluate(OPEN, workflow)
    assert not page.get_by_text("Missing Node Types").count()
    run = server.prompt(small(graph)).expect()
    assert run.images or run.outputs
