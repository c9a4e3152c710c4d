"""ComfyUI with a (fake) card and three checkpoints in the RAM tier; for a process of its own: the card stays in it."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_management as management
import comfy.sd
import execution  # noqa: F401 - of which the seams wrap a part
from comfy.cli_args import args

from modelstream.cache.vram import Limits
from modelstream.hooks.assign import AssignSeam
from modelstream.hooks.host_copies import HostCopiesSeam
from modelstream.hooks.loading import LoadingSeam
from modelstream.hooks.shared_memory import SharedMemory
from modelstream.hooks.vram_pressure import VramPressureSeam
from modelstream.hooks.warm_models import WarmModelsSeam

from .fake_device import CARD, FakeCard, put_into_comfyui
from .warm_parts import InArena, load_from

TINY = Path(os.environ["TINY_CHECKPOINT"])
KEYS = ("checkpoints/a.safetensors", "checkpoints/b.safetensors", "checkpoints/c.safetensors")

args.fp16_unet = True
THE_CARD = FakeCard(1 << 30, others=1)
OTHER_CARD = THE_CARD.others[0]
put_into_comfyui(THE_CARD, management)
THE_CARD.__enter__()


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Machine:
    """ComfyUI with a card, three checkpoints in the RAM tier, and the seams."""

    def __init__(self, comfy: Any, limits: Limits | None = None, working_memory_bytes: int = 0) -> None:
        self.comfy, self.clock = comfy, Clock()
        self.shared = SharedMemory()
        self.held = {key: InArena(TINY) for key in KEYS}
        comfy.holds(*KEYS)
        entries: tuple[Any, ...] = ()
        comfy.cache.snapshot = lambda: SimpleNamespace(ram=SimpleNamespace(budget_bytes=1 << 40, entries=entries))
        for key, held in self.held.items():
            comfy.cache.tensors[key] = held.tensors()
            self.shared.add(held.buffer)
        self.assign, self.copies = AssignSeam(self.shared), HostCopiesSeam(self.shared)
        self.warm = WarmModelsSeam(comfy.runtime, self.shared, limits or Limits(), 0, clock=self.clock)
        self.events: list[Any] = []
        comfy.bus.subscribe(self.events.append)
        self.pressure = VramPressureSeam(self.warm, working_memory_bytes=working_memory_bytes, clock=self.clock)
        comfy.seams.put_on(LoadingSeam(comfy.runtime), self.assign, self.copies, self.warm, self.pressure)
        assert {s.state for s in comfy.seams.states()} == {"on"}, comfy.seams.states()
        self.model_bytes = load_from(self.held[KEYS[0]])[0].model_size()

    def checkpoint(self, key: str) -> Any:
        """MODEL, as the loader node gets it, ten seconds after whatever was before."""
        self.clock.now_s += 10
        model, *_ = comfy.sd.load_checkpoint_guess_config(self.path(key), output_vae=False, output_clip=False)
        return model

    def path(self, key: str) -> str:
        from modelstream.hooks.folders import view_of

        return str(self.comfy.cache.path_for(self.comfy.runtime.catalog.find(view_of("checkpoints"), key.partition("/")[2])))

    def run(self, key: str) -> Any:
        """Loads it to the card, as a sampler does."""
        model = self.checkpoint(key)
        management.load_models_gpu([model])
        return model

    def on_card(self) -> set[str]:
        """Which of the three are on the card as a whole (core lets models go in parts)."""
        labels = {one.key: one.label.rpartition(":")[2] for one in self.warm.pool.snapshot().entries}
        self.warm.pool.measure()
        return {
            labels[one.key] for one in self.warm.pool.snapshot().entries if one.sizes.device_bytes.get(str(CARD), 0) == self.model_bytes
        }

    def checksums(self) -> list[str]:
        return [held.checksum() for held in self.held.values()]


def room_for(machine: Machine, models: float) -> None:
    """The card holds so many of the models, with core's tenth on top of each."""
    THE_CARD.total_bytes = int(machine.model_bytes * models)


def unload_both() -> None:
    """ComfyUI's own ``unload_all_models`` looks after the device in use alone."""
    for device in (CARD, OTHER_CARD.device):
        management.free_memory(1e30, device)


@contextlib.contextmanager
def empty_card() -> Iterator[None]:
    """Around a test."""
    for card in (THE_CARD, OTHER_CARD):
        card.total_bytes = 1 << 30
        card.full_after_bytes.clear()
        card.forget()
    yield
    unload_both()
    gc.collect()
    del management.current_loaded_models[:]
    gc.collect()
