"""What ComfyUI tells a browser while it works: the events of its web socket, kept in the order they came."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TEXT = 3
"""BinaryEventTypes.TEXT in ComfyUI's server"""


@dataclass(frozen=True)
class Told:
    """kind: ComfyUI's event type; "progress_text" (values: node, text) for what a node shows as text"""

    kind: str
    values: dict[str, Any]


class Listener:
    """Connected when ``start`` returns; one thread with an event loop of its own until ``stop``."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._told: list[Told] = []
        self._changed = threading.Condition()
        self._connected = threading.Event()
        self._failure: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="comfy-listener", daemon=True)

    def start(self) -> Listener:
        self._thread.start()
        if not self._connected.wait(15) or self._failure:
            self.stop()
            raise ConnectionError(f"ComfyUI's web socket did not answer: {self._failure}")
        return self

    def stop(self) -> None:
        if self._loop.is_running():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)

    def all(self, kind: str | None = None) -> list[Told]:
        with self._changed:
            return [t for t in self._told if kind in (None, t.kind)]

    def texts(self, node: str | None = None) -> list[str]:
        """What nodes showed as progress text, oldest first."""
        return [t.values["text"] for t in self.all("progress_text") if node in (None, t.values["node"])]

    def wait_for(self, wanted: Callable[[Told], bool], timeout_s: float = 60.0) -> Told:
        """The first event, past or future, that ``wanted`` accepts."""
        with self._changed:
            if not self._changed.wait_for(lambda: any(map(wanted, self._told)), timeout_s):
                raise TimeoutError(f"not told within {timeout_s} s; told: {[t.kind for t in self._told][-20:]}")
            return next(filter(wanted, self._told))

    def forget(self) -> None:
        with self._changed:
            self._told.clear()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._listen())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            return
        except Exception as error:
            self._failure = error
        finally:
            self._connected.set()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _listen(self) -> None:
        import aiohttp

        async with aiohttp.ClientSession() as session, session.ws_connect(self._url, max_msg_size=0) as socket:
            self._connected.set()
            async for message in socket:
                told = self._read(message.data)
                if told is not None:
                    with self._changed:
                        self._told.append(told)
                        self._changed.notify_all()

    @staticmethod
    def _read(message: Any) -> Told | None:
        if isinstance(message, str):
            event = json.loads(message)
            return Told(event["type"], event.get("data") or {})
        if isinstance(message, bytes) and struct.unpack_from(">I", message)[0] == _TEXT:
            length = struct.unpack_from(">I", message, 4)[0]
            node, text = message[8 : 8 + length], message[8 + length :]
            return Told("progress_text", {"node": node.decode(), "text": text.decode("utf-8", "replace")})
        return None
