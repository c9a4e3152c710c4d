"""The demo's tour: load, switch, back, evict, prefetch, slowly enough to watch in the panel.

Every step is an ordinary prompt or an action of the panel; what it says afterwards are the events that the panel shows too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .actions import change, is_idle, row_of, wait_until
from .comfy import ComfyServer
from .workflows import text_to_image

SECONDS_A_MODEL = 8.0
"""what a checkpoint takes over the link of the tour: long enough to watch, short enough to wait for"""


def rate_limit_mbit(size_bytes: int) -> int:
    return max(1, round(size_bytes * 8 / 1e6 / SECONDS_A_MODEL))


@dataclass(frozen=True)
class Step:
    name: str
    """load, switch, back, evict, prefetch, use"""
    sources: tuple[str, ...]
    """where the checkpoints that were loaded in it came from"""


class Tour:
    """first, second: two checkpoints of the bucket; image: further arguments of the workflow (latent, size, steps)"""

    def __init__(
        self, server: ComfyServer, first: str, second: str, tell: Callable[[str], None], *, pace_s: float, image: dict[str, Any]
    ) -> None:
        self.server, self.first, self.second = server, first, second
        self._tell, self._pace_s, self._image = tell, pace_s, image
        self._seen, self._seed = self._last(), 100

    def walk(self) -> tuple[Step, ...]:
        first, second = self.first, self.second
        return (
            self._step(
                "load", f"Load: a workflow wants {first}. It streams from the bucket; watch it under “Now”.", lambda: self._use(first)
            ),
            self._step(
                "switch", f"Switch: another workflow wants {second}. {first} stays in RAM and on the SSD.", lambda: self._use(second)
            ),
            self._step("back", f"Back to {first}: nothing crosses the network.", lambda: self._use(first)),
            self._step("evict", f"Evict: {second} leaves this machine. It is still in the bucket.", lambda: self._evict(second)),
            self._step("prefetch", f"Prefetch: {second} comes back to the SSD before anybody asks for it.", lambda: self._prefetch(second)),
            self._step("use", f"And a workflow that wants {second} finds it there.", lambda: self._use(second)),
        )

    def _step(self, name: str, said: str, act: Callable[[], None]) -> Step:
        self._tell(f"\n{said}")
        threading.Event().wait(self._pace_s / 2)
        act()
        wait_until(lambda: is_idle(self.server), "the queue and the transfers come to rest")
        events = self._news()
        for event in events:
            self._tell(f"  {event['text']}")
        if not events:
            self._tell("  the model was still loaded, and ready at once")
        threading.Event().wait(self._pace_s)
        names = {self.first, self.second}
        return Step(name, tuple(e["tier"] or e["reason"] for e in events if e["kind"] == "load" and e["name"] in names))

    def _use(self, checkpoint: str) -> None:
        self._seed += 1
        self.server.prompt(text_to_image(checkpoint, seed=self._seed, **self._image)).expect()

    def _evict(self, checkpoint: str) -> None:
        self.server.post("/free", {"unload_models": True, "free_memory": True})
        row = row_of(self.server, "checkpoints", checkpoint)

        def gone() -> bool:
            change(self.server, "evict", digests=[row["digest"]])
            return not row_of(self.server, "checkpoints", checkpoint)["tiers"]

        wait_until(gone, f"{checkpoint} leaves", 30)

    def _prefetch(self, checkpoint: str) -> None:
        change(self.server, "prefetch", digests=[row_of(self.server, "checkpoints", checkpoint)["digest"]], tier="ssd")
        wait_until(lambda: "ssd" in row_of(self.server, "checkpoints", checkpoint)["tiers"], f"{checkpoint} arrives")

    def _last(self) -> int:
        return self.server.get("/modelstream/events", limit="1")["last"]

    def _news(self) -> list[dict[str, Any]]:
        """What happened since the last call, without what is not about models."""
        answer = self.server.get("/modelstream/events", since=str(self._seen), limit="500")
        self._seen = answer["last"]
        wanted = {"load", "load_failed", "transfer", "evict", "store", "pin", "prefetch"}
        return [event for event in answer["events"] if event["kind"] in wanted and event["text"] != event.get("subject")]
