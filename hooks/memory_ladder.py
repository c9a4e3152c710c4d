"""What is told while a device gets full: each step before out of memory, with its figures, and an error that helps.

The steps themselves are done elsewhere: warm models leave (``vram_pressure``), ComfyUI keeps a part in host memory
(``load_models_gpu``), a smaller variant is taken where the owner allowed it (``smaller``).  In the thread that runs prompts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from ..storage.events_fit import MemoryStep
from ..storage.people import size_text
from .warm_models import WarmModelsSeam

SHOWN = 6
"""models that an error names"""


class MemoryLadder:
    """helps: what else would help for a model of that label, a sentence each; empty where nothing is known"""

    def __init__(self, warm: WarmModelsSeam) -> None:
        self._warm = warm
        self._wanted = ""
        self._behind: dict[int, int] = {}
        self.helps: Callable[[str], Iterable[str]] = lambda label: ()

    def wants(self, models: Iterable[Any]) -> None:
        """Models are about to be loaded to their devices: what leaves meanwhile leaves for them."""
        self._wanted = ", ".join(dict.fromkeys(self.label(one) for one in models))

    def done(self) -> None:
        self._wanted = ""

    def label(self, patcher: Any) -> str:
        """The subject of the object or the file's name, else ComfyUI's name of the class."""
        labels = {id(one.model): label for label, value in self._warm.pool.labelled() for one in value.patchers()}
        model = getattr(patcher, "model", None)
        return labels.get(id(model), type(model).__name__)

    def left(self, device: Any, needed_bytes: float, free_bytes: int, gone: list[tuple[str, int]]) -> None:
        """Warm models went to make room."""
        names = ", ".join(f"{label} ({size_text(size_bytes)})" for label, size_bytes in gone)
        won = sum(size_bytes for _, size_bytes in gone)
        self._warm.tell(MemoryStep("leave", str(device), self._wanted, int(needed_bytes), int(free_bytes), won, f"left: {names}"))

    def loaded(self, models: Iterable[Any]) -> None:
        """After ComfyUI has loaded them: of which of them a part stayed behind; told again when it is another part."""
        before, self._behind = self._behind, {}
        for one in models:
            behind = one.model_size() - one.loaded_size() if _on_device(one) else 0
            if behind:
                self._behind[id(one.model)] = behind
            if behind and before.get(id(one.model)) != behind:
                why = f"{size_text(behind)} stay in host memory and are copied at every step"
                free = int(_management().get_free_memory(one.load_device))
                self._warm.tell(MemoryStep("partial", str(one.load_device), self.label(one), one.model_size(), free, behind, why))

    def failed(self, models: Iterable[Any], error: Exception) -> Exception:
        """The same kind of error, which ComfyUI knows, and what is missing, what holds it and what would help."""
        management, models = _management(), [one for one in models if _on_device(one)]
        if not models:
            return error
        device = models[0].load_device
        needed = sum(one.model_size() - one.loaded_size() for one in models)
        free, total = int(management.get_free_memory(device)), int(management.get_total_memory(device))
        reserved = int(management.extra_reserved_memory())
        held = [
            (self.label(one.model), one.model.loaded_size())
            for one in management.current_loaded_models
            if one.device == device and one.model
        ]
        held = sorted((one for one in held if one[1]), key=lambda one: -one[1])
        others = total - free - sum(size_bytes for _, size_bytes in held)
        missing = max(0, needed + reserved - free)
        kept = f", of which {size_text(reserved)} are kept in reserve" if reserved else ""
        names = ", ".join(self.label(one) for one in models)
        lines = [
            f"{names} needs {size_text(needed)} of {device}: {size_text(free)} of {size_text(total)} are free{kept}; "
            f"{size_text(missing)} are missing."
        ]
        if held:
            lines.append("Held by: " + ", ".join(f"{label} {size_text(size_bytes)}" for label, size_bytes in held[:SHOWN]) + ".")
        if others > total // 50:
            lines.append(f"{size_text(others)} are held by working memory, other extensions or other programs.")
        lines += [self._help(self.label(models[0]))]
        text = " ".join(lines)
        self._warm.tell(MemoryStep("failed", str(device), self.label(models[0]), needed, free, 0, text))
        try:
            return type(error)(f"{error}\n{text}")
        except Exception:  # an error of a kind that is not made of a text
            return error

    def _help(self, label: str) -> str:
        try:
            known = list(self.helps(label))
        except Exception as error:
            self._warm.ours_failed(error)
            known = []
        return "What would help: " + "; ".join([*known, "a smaller picture or batch", "closing other programs on that device"]) + "."


def _on_device(patcher: Any) -> bool:
    return getattr(patcher.load_device, "type", "cpu") != "cpu"


def _management() -> Any:
    return sys.modules["comfy.model_management"]
