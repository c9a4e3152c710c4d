"""Converts a whole file into another precision on disk, the way it is done while a model streams in: for publishing variants."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

from ..storage.errors import ConfigError, InvalidSafetensors
from ..storage.safetensors_header import header_bytes, parse_header
from .converter import ConversionReport, Converter, room_bytes
from .converting import in_file_order
from .precision import plan, recipe_for


def convert_file(
    source: Path, target: Path, form: str, progress: Callable[[int, int], None] = lambda done, total: None
) -> ConversionReport:
    """Writes ``target``, which must not exist.  The same tensors that a stream of ``source`` is converted to.

    progress(done_bytes, total_bytes) is called after every tensor.  Raises InvalidSafetensors, ConfigError, OSError; then there is
    no ``target``.
    """
    recipe = recipe_for(form)
    with source.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes < 10:
            raise InvalidSafetensors("it is no safetensors file", subject=source.name)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping, memoryview(mapping) as view:
            header = parse_header(view[: header_bytes(bytes(view[:8]), size_bytes)], size_bytes)
            planned = plan(header, recipe, source.name)
            room, done = room_bytes(planned, header, stay_all=True), 0  # a hole where nothing is written
            try:
                with target.open("xb+") as out:
                    out.truncate(room)
                    with mmap.mmap(out.fileno(), room) as image:
                        converter = Converter(planned, header, memoryview(image), source.name)
                        try:
                            for name, info in in_file_order(header):
                                with view[info.start : info.end] as raw:
                                    copied = memoryview(bytearray(raw))  # torch warns of memory that it may not write
                                converter.add(name, copied)
                                done += len(copied)
                                progress(done, planned.source_bytes)
                            written, report = converter.finish()
                        finally:
                            converter.into.release()
                    out.truncate(written)
                    os.fsync(out.fileno())
            except FileExistsError:
                raise ConfigError(f"{target.name} is there already", next_step="choose another name, or remove it") from None
            except BaseException:
                target.unlink(missing_ok=True)
                raise
            return report
