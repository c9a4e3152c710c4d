"""What a prompt names, and in which order: over plain dictionaries."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from modelstream.hooks.lookahead_order import UNKNOWN, NodeShape, execution_order
from modelstream.hooks.lookahead_prompt import ModelRef, embeddings_in, model_refs
from modelstream.hooks.lookahead_workflow import is_prompt, is_workflow, workflow_prompt

SHAPES = {
    "Ckpt": NodeShape({"ckpt_name": "checkpoints"}),
    "Lora": NodeShape({"lora_name": "loras"}),
    "Save": NodeShape(output=True, first=True),
    "Switch": NodeShape(lazy=frozenset({"on_true", "on_false"})),
}


def shapes(class_type: str) -> NodeShape:
    return SHAPES.get(class_type, UNKNOWN)


def node(class_type: str, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def names(prompt, *targets):
    return [(ref.folder, ref.name) for ref in model_refs(prompt, targets or ["9"], shapes)]


def test_models_come_in_the_order_of_their_nodes_and_each_once():
    prompt = {
        "1": node("Ckpt", ckpt_name="b/base.safetensors"),
        "2": node("Lora", lora_name="x.safetensors", model=["1", 0]),
        "3": node("Lora", lora_name="x.safetensors", model=["2", 0]),
        "9": node("Save", images=["3", 0]),
        "20": node("Ckpt", ckpt_name="nobody reads me.safetensors"),
    }
    assert names(prompt) == [("checkpoints", "b/base.safetensors"), ("loras", "x.safetensors")]


def test_an_unknown_loader_and_a_nested_widget_are_found_by_the_form_of_the_name():
    prompt = {
        "1": node(
            "PowerLoader",
            lora_1={"on": True, "lora": "styles\\a.safetensors", "strength": 1.0},
            lora_2={"on": False, "lora": "off.safetensors"},
        ),
        "2": node("GGUF", unet_name="flux.Q4.gguf", model=["1", 0], items={"__value__": ["deep.sft", 4]}),
        "9": node("Save", images=["2", 0]),
    }
    assert names(prompt) == [("", "styles\\a.safetensors"), ("", "flux.Q4.gguf"), ("", "deep.sft")]


def test_a_name_that_comes_through_a_link_has_the_folder_of_the_loader():
    prompt = {
        "1": node("String", value="from-afar.safetensors"),
        "2": node("PassOn", value=["1", 0]),
        "3": node("Ckpt", ckpt_name=["2", 0]),
        "9": node("Save", images=["3", 0]),
    }
    assert names(prompt) == [("checkpoints", "from-afar.safetensors")]


def test_choices_that_are_no_files_are_not_models():
    prompt = {"1": node("Lora", lora_name="None"), "2": node("Ckpt", ckpt_name=7), "9": node("Save", images=["1", 0], x=["2", 0])}
    assert names(prompt) == []


def test_what_only_a_lazy_input_asks_for_comes_last_and_is_not_certain():
    prompt = {
        "1": node("Ckpt", ckpt_name="perhaps.safetensors"),
        "2": node("Ckpt", ckpt_name="surely.safetensors"),
        "3": node("Switch", on_true=["1", 0], model=["2", 0]),
        "9": node("Save", images=["3", 0]),
    }
    refs = model_refs(prompt, ["9"], shapes)
    assert [(ref.name, ref.certain) for ref in refs] == [("surely.safetensors", True), ("perhaps.safetensors", False)]


def test_embeddings_are_read_as_comfyui_reads_them():
    text = "a cat embedding:easy\nnegative, embedding:sub/bad-hands.pt, (embedding:heavy:1.2) (embedding:brackets\\(1\\)) noembedding:no"
    assert embeddings_in("embedding:first " + text) == ("first", "easy", "sub/bad-hands.pt", "heavy", "brackets(1)")
    prompt = {"1": node("Encode", text=text), "9": node("Save", x=["1", 0])}
    assert names(prompt)[0] == ("embeddings", "easy")


def test_a_cycle_a_dangling_link_and_strange_values_end_nothing():
    prompt = {
        "1": node("Ckpt", ckpt_name="a.safetensors", x=["2", 0]),
        "2": node("Ckpt", ckpt_name="b.safetensors", x=["1", 0]),
        "3": node("Ckpt", ckpt_name="c.safetensors", x=["404", 0]),
        "4": "no node",
        "5": {"inputs": None},
        "9": node("Save", a=["3", 0], b=["4", 0], c=["5", 0]),
    }
    assert names(prompt) == [("checkpoints", "c.safetensors")]
    assert execution_order(prompt, ["1", "no such node"], shapes).certain == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["a.safetensors", "embedding:x", "1", "2"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["on", "lora", "inputs", "nodes", "links"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("12345"), json_values | st.fixed_dictionaries({"class_type": json_values, "inputs": json_values}), max_size=5
    )
)
def test_no_prompt_from_outside_raises(prompt):
    for ref in model_refs(prompt, list(prompt), shapes):
        assert isinstance(ref, ModelRef) and ref.name


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "nodes": st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "id": st.integers(0, 4),
                        "type": st.sampled_from(["Ckpt", "sub", "Reroute"]),
                        "mode": st.sampled_from([0, 2, 4]),
                        "inputs": json_values,
                        "outputs": json_values,
                        "widgets_values": json_values,
                        "properties": json_values,
                    },
                ),
                max_size=4,
            ),
            "links": json_values | st.lists(st.tuples(*[st.integers(0, 4)] * 5).map(list), max_size=5),
            "definitions": json_values
            | st.just({"subgraphs": [{"id": "sub", "nodes": [{"id": 1, "type": "sub"}, {"id": 2, "type": "Ckpt"}]}]}),
        },
    )
)
def test_no_workflow_file_raises_and_a_subgraph_inside_itself_ends(workflow):
    found = workflow_prompt(workflow)
    json.dumps(found.prompt)
    assert set(found.targets) <= set(found.prompt)


def test_a_subgraph_gives_its_values_to_the_loader_inside_and_muted_nodes_are_left_out():
    inner = {
        "id": "sub",
        "inputNode": {"id": -10},
        "outputNode": {"id": -20},
        "inputs": [{"name": "ckpt"}],
        "nodes": [
            {
                "id": 1,
                "type": "Ckpt",
                "inputs": [{"name": "ckpt_name", "widget": {"name": "ckpt_name"}, "link": 5}],
                "widgets_values": ["old.safetensors"],
                "properties": {
                    "models": [{"name": "old.safetensors", "directory": "checkpoints", "url": "https://example.com/x", "hash": "ab"}]
                },
            }
        ],
        "links": [
            {"id": 5, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0},
            {"id": 6, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0},
        ],
    }
    outer = {
        "nodes": [
            {
                "id": 7,
                "type": "sub",
                "inputs": [{"name": "ckpt", "widget": {"name": "ckpt"}, "link": None}],
                "widgets_values": ["new.safetensors"],
            },
            {
                "id": 8,
                "type": "Lora",
                "mode": 4,
                "inputs": [{"name": "model", "type": "MODEL", "link": 1}],
                "outputs": [{"type": "MODEL"}],
                "widgets_values": ["no.safetensors"],
            },
            {"id": 9, "type": "Save", "inputs": [{"name": "images", "link": 2}]},
        ],
        "links": [[1, 7, 0, 8, 0, "MODEL"], [2, 8, 0, 9, 0, "MODEL"]],
        "definitions": {"subgraphs": [inner]},
    }
    found = workflow_prompt(outer)
    assert found.prompt == {"7:1": node("Ckpt", ckpt_name="new.safetensors"), "9": node("Save", images=["7:1", 0])}
    assert found.targets == ("9",) and [(m.name, m.directory, m.hash) for m in found.models] == [("old.safetensors", "checkpoints", "ab")]
    assert is_workflow(outer) and is_prompt(found.prompt) and not is_prompt(outer)
