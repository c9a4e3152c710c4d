"""Memory on a (fake) card: who leaves first, what is copied back, what stays free, and when the pool lets go."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import comfy.hooks
import comfy.model_management as management
import comfy.sd
import execution
import pytest
import torch

from modelstream.cache.vram import Limits
from modelstream.hooks.devices import devices_json
from modelstream.hooks.host_copies import host_copies
from modelstream.hooks.vram_pressure import WAKE_FLAG
from modelstream.storage.events import DeviceFull
from rig.card_machine import KEYS, OTHER_CARD, THE_CARD, Machine, empty_card, room_for, unload_both
from rig.fake_device import CARD, HOST, OutOfMemory
from rig.warm_parts import load_from, lora_of, same, weights

comfy_sd = comfy.sd
loads = SimpleNamespace(of=lambda comfy: [key for what, key in comfy.cache.asked if what == "tensors"])


@pytest.fixture(autouse=True)
def _empty_card() -> Iterator[None]:
    with empty_card():
        yield


@pytest.fixture
def machine(comfy: Any) -> Machine:
    return Machine(comfy)


def buffer_bytes(patcher: Any) -> int:
    """Tables that a model has computed itself: they are in nobody's cache."""
    return sum(buffer.nbytes for buffer in patcher.model.buffers())


def test_models_come_back_from_the_pool_and_onto_the_card(machine: Machine) -> None:
    for key in (KEYS[0], KEYS[1], KEYS[0]):
        machine.run(key)
    assert loads.of(machine.comfy) == [KEYS[0], KEYS[1]]
    assert machine.on_card() == {KEYS[0], KEYS[1]}
    assert THE_CARD.used_bytes == 2 * machine.model_bytes


def test_the_longest_unused_model_leaves_first(machine: Machine) -> None:
    room_for(machine, 2.5)
    machine.run(KEYS[0])
    machine.run(KEYS[1])
    machine.run(KEYS[0])
    machine.run(KEYS[2])
    assert machine.on_card() == {KEYS[0], KEYS[2]}
    machine.run(KEYS[1])
    assert machine.on_card() == {KEYS[1], KEYS[2]}


def test_what_newer_comfyui_asks_for_beside_it_is_passed_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Host memory and pinned memory are core's own; who leaves the device is the pool's choice all the same."""
    asked: list[dict[str, Any]] = []
    core = management.free_memory.__wrapped__

    def newer(memory_required: float, device: Any, keep_loaded: Any = (), **more: Any) -> Any:
        asked.append(more)
        return core(memory_required, device, keep_loaded)

    for key in KEYS[:2]:
        machine.run(key)
    machine.run(KEYS[0])
    THE_CARD.total_bytes = THE_CARD.used_bytes
    machine.pressure._free_memory(newer, machine.model_bytes // 2, CARD, pins_required=5)
    assert asked == [{}, {"pins_required": 5}]
    assert machine.on_card() == {KEYS[0]}
    asked.clear()
    machine.pressure._free_memory(newer, 0, None, ram_required=7)
    assert asked == [{"ram_required": 7}]


def test_a_model_that_is_to_be_kept_stays(machine: Machine) -> None:
    machine.run(KEYS[0])
    machine.run(KEYS[1])
    oldest = management.current_loaded_models[-1]
    size_bytes = machine.model_bytes
    THE_CARD.total_bytes = THE_CARD.used_bytes
    management.free_memory(size_bytes // 2, CARD, [oldest])
    assert machine.on_card() == {KEYS[0]}


def test_a_model_whose_weights_the_ram_tier_has_leaves_without_a_copy_back(machine: Machine) -> None:
    before = machine.checksums()
    model = machine.run(KEYS[0])
    original = weights(model)
    THE_CARD.forget()
    management.unload_all_models()
    assert THE_CARD.to_host_bytes == buffer_bytes(model)
    assert THE_CARD.used_bytes == 0
    assert machine.copies.dropped_bytes == model.model_size() - buffer_bytes(model) > 0
    assert all(machine.shared.holds(p) for p in model.model.parameters())
    assert same(weights(model), original)
    assert machine.checksums() == before


def test_without_the_seam_every_byte_is_copied_back(machine: Machine) -> None:
    model = machine.checkpoint(KEYS[0])
    machine.comfy.seams.take_off()
    management.load_models_gpu([model])
    THE_CARD.forget()
    management.unload_all_models()
    assert THE_CARD.to_host_bytes == model.model_size()


def test_a_lora_on_the_card_goes_and_comes_without_a_copy_back(machine: Machine) -> None:
    before = machine.checksums()
    model = machine.checkpoint(KEYS[0])
    original = weights(model)
    patched = model.clone()
    patched.add_patches(lora_of(model), 1.0)
    for _ in range(2):
        management.load_models_gpu([patched])
        with_lora = weights(patched)
        assert not same(with_lora, original)
        THE_CARD.forget()
        management.unload_all_models()
        assert THE_CARD.to_host_bytes == buffer_bytes(model)
        assert same(weights(model), original)
        management.load_models_gpu([model])
        assert same(weights(model), original)
        management.load_models_gpu([patched])
        assert same(weights(patched), with_lora)
    management.unload_all_models()
    assert machine.checksums() == before


def test_weights_a_hook_has_patched_on_the_card_are_restored_before_they_leave(machine: Machine) -> None:
    before = machine.checksums()
    model = machine.checkpoint(KEYS[0])
    original = weights(model)
    hooked = model.clone()
    hook, group = comfy.hooks.WeightHook(1.0, 1.0), comfy.hooks.HookGroup()
    group.add(hook)
    management.load_models_gpu([hooked])
    hooked.add_hook_patches(hook=hook, patches=lora_of(model), strength_patch=1.0)
    hooked.patch_hooks(group)
    assert not same(weights(model), original)
    hooked.detach()
    assert all(p.device == HOST for p in model.model.parameters())
    assert same(weights(model), original)
    assert machine.checksums() == before


def test_half_a_model_leaves_without_a_copy_back(machine: Machine) -> None:
    before = machine.checksums()
    model = machine.run(KEYS[0])
    original = weights(model)
    THE_CARD.forget()
    freed = model.partially_unload(HOST, model.model_size() // 2)
    assert freed >= model.model_size() // 2
    assert THE_CARD.to_host_bytes == 0
    assert 0 < THE_CARD.used_bytes <= model.model_size() // 2
    assert same(weights(model), original)
    management.load_models_gpu([model])
    assert same(weights(model), original)
    assert machine.checksums() == before


def test_a_weight_written_on_the_card_is_copied_back(machine: Machine) -> None:
    model = machine.run(KEYS[0])
    name, param = next(iter(model.model.named_parameters()))
    comfy.utils.copy_to_param(model.model, name, torch.full_like(param, 7.0))
    management.unload_all_models()
    assert float(weights(model)[name].flatten()[0]) == 7.0
    assert machine.checksums()[0] == machine.checksums()[1]


def test_working_memory_stays_free(comfy: Any) -> None:
    reserve = 600_000
    machine = Machine(comfy, working_memory_bytes=reserve)
    assert management.extra_reserved_memory() == reserve
    THE_CARD.total_bytes = int(machine.model_bytes * 2.2 + reserve)
    for key in (*KEYS, KEYS[0]):
        machine.run(key)
        assert THE_CARD.free_bytes >= reserve
    comfy.seams.take_off()
    assert management.extra_reserved_memory() == 0


def test_models_over_the_device_budget_leave(comfy: Any) -> None:
    machine = Machine(comfy, Limits(device_bytes=1))
    for key in KEYS:
        machine.run(key)
    assert machine.on_card() == {KEYS[2]}


def test_unloading_all_models_leaves_them_warm(machine: Machine) -> None:
    machine.run(KEYS[0])
    management.unload_all_models()
    assert machine.on_card() == set()
    machine.run(KEYS[0])
    assert loads.of(machine.comfy) == [KEYS[0]]


def test_freeing_the_node_cache_empties_the_pool(machine: Machine) -> None:
    machine.run(KEYS[0])
    executor = execution.PromptExecutor(SimpleNamespace(client_id=None, last_node_id=None), cache_args={"lru": 0, "ram": 0})
    executor.reset()
    assert machine.warm.pool.snapshot().entries == ()
    machine.run(KEYS[0])
    assert loads.of(machine.comfy) == [KEYS[0], KEYS[0]]


def test_the_thread_that_runs_prompts_sees_to_the_keep_alive_between_two_of_them(comfy: Any) -> None:
    machine = Machine(comfy, Limits(keep_alive_s=60))
    queue = execution.PromptQueue(SimpleNamespace(queue_updated=lambda: None))
    machine.checkpoint(KEYS[0])
    queue.set_flag(WAKE_FLAG, True)
    assert queue.get_flags() == {}
    assert len(machine.warm.pool.snapshot().entries) == 1
    machine.clock.now_s += 61
    queue.set_flag("free_memory", True)
    assert queue.get_flags() == {"free_memory": True}
    assert machine.warm.pool.snapshot().entries == ()


def test_a_device_has_a_budget_of_its_own_and_keeps_to_it_when_nothing_runs(comfy: Any) -> None:
    machine = Machine(comfy, Limits(device_bytes=1 << 40, by_device={str(CARD): 1}))
    machine.run(KEYS[0])
    assert machine.on_card() == {KEYS[0]}
    machine.pressure.between_prompts(nothing_runs=False)
    assert machine.on_card() == {KEYS[0]}  # somebody executes
    machine.pressure.between_prompts(nothing_runs=True)
    assert machine.on_card() == set()
    machine.run(KEYS[0])
    assert loads.of(comfy) == [KEYS[0]]


# -- a full device -----------------------------------------------------------------------------------------------------
def full(machine: Machine) -> list[tuple[str, bool, bool]]:
    return [(e.device, e.freed_bytes > 0, e.again) for e in machine.events if isinstance(e, DeviceFull)]


def test_a_model_that_finds_no_room_after_all_is_loaded_again_when_others_have_left(machine: Machine) -> None:
    """ComfyUI thinks that there is room (the rest of the card belongs to nobody), the driver knows better."""
    before = machine.checksums()
    machine.run(KEYS[0])
    machine.run(KEYS[1])
    room_for(machine, 2.0)  # from here on somebody else has the rest
    THE_CARD.full_after_bytes = [machine.model_bytes // 2]
    model = machine.checkpoint(KEYS[2])
    THE_CARD.total_bytes = 1 << 30
    management.load_models_gpu([model])
    assert machine.on_card() == {KEYS[1], KEYS[2]} or machine.on_card() == {KEYS[2]}
    assert full(machine) == [(str(CARD), True, True)]
    assert same(weights(model), weights(load_from(machine.held[KEYS[2]])[0]))
    assert machine.checksums() == before


def test_when_even_an_empty_device_does_not_do_the_error_is_the_drivers(machine: Machine) -> None:
    machine.run(KEYS[0])
    THE_CARD.full_after_bytes = [0, 0, 0]
    with pytest.raises(OutOfMemory):
        machine.run(KEYS[1])
    assert full(machine) == [(str(CARD), True, True), (str(CARD), False, False)]
    THE_CARD.full_after_bytes.clear()
    machine.run(KEYS[1])
    assert machine.on_card() >= {KEYS[1]}


def test_with_nothing_to_send_away_the_error_comes_at_once(machine: Machine) -> None:
    model = machine.checkpoint(KEYS[0])
    THE_CARD.full_after_bytes = [machine.model_bytes // 2]
    with pytest.raises(OutOfMemory):
        management.load_models_gpu([model])
    assert full(machine) == [(str(CARD), False, False)]
    assert THE_CARD.used_bytes == 0  # what had arrived is not left behind
    management.load_models_gpu([model])
    assert same(weights(model), weights(load_from(machine.held[KEYS[0]])[0]))


def test_out_of_memory_while_sampling_leaves_the_models_warm_in_host_memory_without_a_copy_back(machine: Machine) -> None:
    """ComfyUI's own answer to it: the prompt fails and everything leaves the device."""
    model = machine.run(KEYS[0])
    THE_CARD.forget()
    management.unload_all_models()
    assert THE_CARD.to_host_bytes == buffer_bytes(model)
    machine.run(KEYS[0])
    assert loads.of(machine.comfy) == [KEYS[0]]


class _Interrupt(Exception):
    pass


@pytest.mark.parametrize("then", ["again", "free", "other"])
def test_an_interrupt_while_the_device_is_filled_leaves_books_and_bytes_right(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """Case 42: ComfyUI's interrupt, and ``/free``, in the middle of a model's way to the device."""
    before = machine.checksums()
    model = machine.checkpoint(KEYS[0])
    original = weights(model)
    arrives, arrived = THE_CARD.arrives, list[int]()

    def interrupted(size_bytes: int) -> None:
        arrives(size_bytes)
        arrived.append(size_bytes)
        if len(arrived) == 20:
            raise _Interrupt

    monkeypatch.setattr(THE_CARD, "arrives", interrupted)
    with pytest.raises(_Interrupt):
        management.load_models_gpu([model])
    monkeypatch.undo()
    assert len(arrived) == 20
    assert THE_CARD.used_bytes == 0  # ComfyUI takes back what had arrived, and it goes without a copy
    assert THE_CARD.to_host_bytes <= buffer_bytes(model)
    if then == "free":
        management.unload_all_models()
        machine.warm.pool.clear("asked")
        del model
        gc.collect()
        assert THE_CARD.used_bytes == 0
        assert machine.warm.pool.snapshot().entries == ()
    elif then == "again":
        model = machine.run(KEYS[0])
        assert same(weights(model), original)
        assert THE_CARD.used_bytes == model.model_size()
    else:
        room_for(machine, 1.6)
        machine.run(KEYS[1])
        model = machine.run(KEYS[0])
        assert same(weights(model), original)
        assert THE_CARD.used_bytes <= THE_CARD.total_bytes
    assert machine.checksums() == before


# -- two devices -------------------------------------------------------------------------------------------------------
def on_other_card(machine: Machine, monkeypatch: pytest.MonkeyPatch, key: str) -> Any:
    """As extensions for several cards do it: ComfyUI is told of another device while the loader runs."""
    with monkeypatch.context() as patch:
        patch.setattr(management, "get_torch_device", lambda: OTHER_CARD.device)
        model = machine.checkpoint(key)
    assert model.load_device == OTHER_CARD.device
    management.load_models_gpu([model])
    return model


def test_two_devices_have_models_of_their_own_over_one_host_copy(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine.checksums()
    first = machine.checkpoint(KEYS[0])
    hosts = [p.data_ptr() for p in first.model.parameters()]
    management.load_models_gpu([first])
    second = on_other_card(machine, monkeypatch, KEYS[0])
    assert second.model is not first.model
    assert THE_CARD.used_bytes == OTHER_CARD.used_bytes == machine.model_bytes
    assert {entry.sizes.shared_bytes for entry in machine.warm.pool.snapshot().entries} == {sum(p.nbytes for p in first.model.parameters())}
    machine.warm.pool.measure()
    snapshot = machine.warm.pool.snapshot()
    assert len(snapshot.entries) == 2
    assert snapshot.shared_bytes == sum(p.nbytes for p in first.model.parameters())  # once
    THE_CARD.forget()
    OTHER_CARD.forget()
    unload_both()
    assert (THE_CARD.used_bytes, OTHER_CARD.used_bytes) == (0, 0)
    assert THE_CARD.to_host_bytes == OTHER_CARD.to_host_bytes == buffer_bytes(first)
    assert [p.data_ptr() for p in first.model.parameters()] == [p.data_ptr() for p in second.model.parameters()] == hosts
    assert same(weights(first), weights(second))
    assert machine.checksums() == before


def test_each_device_is_answered_from_the_pool_with_its_own_model(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    first = machine.run(KEYS[0])
    second = on_other_card(machine, monkeypatch, KEYS[0])
    assert machine.run(KEYS[0]).model is first.model
    assert on_other_card(machine, monkeypatch, KEYS[0]).model is second.model
    assert machine.warm.pool.snapshot().hits == 2
    assert THE_CARD.used_bytes == OTHER_CARD.used_bytes == machine.model_bytes


def test_comfyuis_own_clone_for_another_device_is_made_over_the_same_host_copy(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As newer ComfyUI's ``deepclone_multigpu`` does: it calls the loader that the model says it comes from, for a module of its own."""
    inner = comfy.sd.load_state_dict_guess_config

    def newer(*args: Any, **kwargs: Any) -> Any:
        model, *rest = inner(*args, **kwargs)
        model.cached_patcher_init = (comfy.sd.load_checkpoint_guess_config, (machine.path(KEYS[0]), False, False), 0)
        return (model, *rest)

    monkeypatch.setattr(comfy.sd, "load_state_dict_guess_config", newer)
    first = machine.run(KEYS[0])
    hosts = [tensor.data_ptr() for tensor in host_copies(first.model)]
    factory, given, index = first.cached_patcher_init
    fresh = factory(*given)[index]
    fresh.load_device = OTHER_CARD.device
    assert [p.data_ptr() for p in fresh.model.parameters()] == hosts
    management.load_models_gpu([fresh])
    assert fresh.model is not first.model
    assert (THE_CARD.used_bytes, OTHER_CARD.used_bytes) == (machine.model_bytes, machine.model_bytes)
    OTHER_CARD.forget()
    unload_both()
    assert OTHER_CARD.to_host_bytes == buffer_bytes(fresh)
    assert [p.data_ptr() for p in fresh.model.parameters()] == hosts


def test_room_in_the_ram_tier_comes_when_the_models_of_all_devices_go(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run(KEYS[0])
    on_other_card(machine, monkeypatch, KEYS[0])
    unload_both()
    gc.collect()
    machine.warm.pool.measure()
    plan = machine.warm.pool.plan_room(1, lambda sizes: sizes.shared_bytes)
    assert len(plan.going) == 2
    assert plan.enough


def test_memory_is_compacted_only_when_nothing_executes(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("modelstream.hooks.vram_pressure.compact", lambda: bool(asked.append(1)) or True)
    machine.pressure.between_prompts(nothing_runs=False)
    assert (asked, machine.pressure.compactions) == ([], 0)
    machine.pressure.between_prompts(nothing_runs=True)
    assert (asked, machine.pressure.compactions) == ([1], 1)


def test_dynamic_vram_is_left_to_comfyui(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run(KEYS[0])
    machine.run(KEYS[1])
    monkeypatch.setitem(__import__("sys").modules, "comfy.memory_management", SimpleNamespace(aimdo_enabled=True))
    THE_CARD.total_bytes = THE_CARD.used_bytes
    management.free_memory(1000, CARD)
    assert machine.pressure.unloaded == 0


def test_what_others_ask_of_free_memory_is_passed_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(management, "get_free_memory", lambda *a, **k: 1 / 0 if a == (CARD,) else (0, 0))
    machine.run  # noqa: B018
    with pytest.raises(ZeroDivisionError):
        machine.run(KEYS[0])  # core itself asks, and fails


def test_a_card_that_is_not_there_has_no_figures() -> None:
    assert devices_json() == "not available"
