"""Which models a node's text names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.nodes.selection import MOST, choose, matching
from modelstream.storage.catalog import Catalog
from modelstream.storage.config import CatalogConfig, Config
from modelstream.storage.errors import ObjectMissing
from modelstream.storage.events import EventBus
from modelstream.storage.layout import FolderView
from modelstream.storage.objects import ObjectId, RemoteObject

VIEWS = (
    FolderView("checkpoints", ("checkpoints",), frozenset({".safetensors"})),
    FolderView("loras", ("loras",), frozenset({".safetensors"})),
    FolderView("diffusion_models", ("unet", "diffusion_models"), frozenset({".safetensors"})),
)
KEYS = (
    "checkpoints/sd15.safetensors",
    "checkpoints/XL/base.safetensors",
    "loras/xl/style.safetensors",
    "unet/flux.safetensors",
    "loras/[a].safetensors",
)


class Bucket:
    endpoint = "http://127.0.0.1:1"

    def __init__(self, name: str, keys: tuple[str, ...]) -> None:
        text = f'[profiles.p]\nendpoint = "{self.endpoint}"\n[[origins]]\nname = "{name}"\nbucket = "models"\n'
        self.config = Config.from_text(text).origins[0]
        self._keys = keys

    def list_pages(self):
        yield tuple(
            RemoteObject(self.config.name, ObjectId(self.endpoint, "models", key, f"v-{self.config.name}"), 100, 0.0) for key in self._keys
        )


def catalog_of(*buckets: Bucket) -> Catalog:
    catalog = Catalog(buckets, CatalogConfig(), EventBus())
    catalog.refresh(wait=True)
    return catalog


CATALOG = catalog_of(Bucket("near", KEYS[:3]), Bucket("far", KEYS))


def lines(text: str) -> list[str]:
    return [chosen.line for chosen in choose(text, CATALOG, VIEWS)]


def test_a_line_names_one_model_with_either_slash() -> None:
    assert lines("checkpoints/XL/base.safetensors") == lines("checkpoints\\XL\\base.safetensors") == ["checkpoints/XL/base.safetensors"]


def test_a_pattern_names_many_whatever_the_case_and_a_final_slash_all_below() -> None:
    assert lines("*xl*") == ["checkpoints/XL/base.safetensors", "loras/xl/style.safetensors"]
    assert lines("loras/") == ["loras/[a].safetensors", "loras/xl/style.safetensors"]
    assert lines("checkpoints/xl/") == ["checkpoints/XL/base.safetensors"]


def test_a_name_without_a_folder_is_looked_for_in_all() -> None:
    assert lines("flux.safetensors") == ["diffusion_models/flux.safetensors"]


def test_a_name_with_brackets_is_found_by_its_very_name() -> None:
    assert lines("loras/[a].safetensors") == ["loras/[a].safetensors"]


def test_comments_and_blank_lines_name_nothing_and_doubles_count_once() -> None:
    text = "# my set\n\nloras/xl/style.safetensors  # the style\nloras/*style*\n"
    assert lines(text) == ["loras/xl/style.safetensors"]
    assert lines("") == []


def test_what_is_missing_is_told_in_one_list_with_a_suggestion() -> None:
    with pytest.raises(ObjectMissing) as caught:
        lines("checkpoints/sd15.safetensor\nloras/none*\ncheckpoints/sd15.safetensors")
    assert "checkpoints/sd15.safetensor, loras/none*" in str(caught.value)
    assert "did you mean checkpoints/sd15.safetensors?" in str(caught.value)


def test_a_pattern_that_means_more_than_a_thousand_is_refused() -> None:
    many = catalog_of(Bucket("near", tuple(f"loras/{n}.safetensors" for n in range(MOST + 1))))
    with pytest.raises(ObjectMissing, match="more than 1000"):
        choose("loras/", many, VIEWS)
    assert sum(1 for _ in matching(VIEWS[1], "*", many)) == MOST + 1


def test_the_nearest_origin_answers_unless_another_is_named() -> None:
    near, far = CATALOG.find(VIEWS[0], "sd15.safetensors"), CATALOG.find(VIEWS[0], "sd15.safetensors", origin="far")
    assert near is not None and far is not None and (near.origin, far.origin) == ("near", "far")
    assert CATALOG.find(VIEWS[2], "flux.safetensors", origin="near") is None


@given(st.text(max_size=60))
def test_any_text_names_objects_of_the_catalog_or_is_refused(text: str) -> None:
    try:
        found = choose(text, CATALOG, VIEWS)
    except ObjectMissing:
        return
    assert {chosen.obj.id.key for chosen in found} <= set(KEYS)
