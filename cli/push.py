"""``modelstream push``: files into a bucket, checked before, resumed after an interruption, verified at the end."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage.config_precision import FORMS
from ..storage.errors import AccessDenied, ConfigError, ModelStreamError
from .bars import progress_bar
from .output import DONE, INCOMPLETE, INTERRUPTED, count_text, duration_text, print_json, rate_text, say, shown, size_text, warn
from .places import config_path, read_config, state_directory

if TYPE_CHECKING:
    from ..storage.config import Config
    from ..storage.objects import RemoteObject
    from ..storage.origin import Origin
    from ..storage.publish import PublishSettings, Show
    from ..storage.publish_plan import Published, PublishRequest

EXAMPLES = """
modelstream push detail.safetensors                       # into the folder that its tensors say
modelstream push *.safetensors --to models:loras/anime/   # several files into one folder
modelstream push new.safetensors --to models:vae/x.safetensors --overwrite
modelstream push flux.safetensors --recipe fp8            # as flux-fp8.safetensors, its layers in 8 bits
modelstream push base.safetensors --licence openrail++ --source-url https://example.com/base --verify full
"""

RATES_FILE = "push-rates.json"
SAME = ("copy", "refuse", "upload")


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", type=Path, nargs="+", metavar="FILE", help="model files")
    add("--to", default="", metavar="ORIGIN:FOLDER/NAME", help="where to (default: the first origin, the folder by the file's tensors)")
    add("--overwrite", action="store_true", help="replace what is there under that name, if it is still the version found at the start")
    add("--if-match", default="", metavar="ETAG", help="replace only this version")
    add("--allow-pickle", action="store_true", help="push a pickle (.ckpt, .pt, …), which can run code when it is loaded")
    add("--same", choices=SAME, default="copy", help="the bucket has these bytes under another name: copy there, refuse, or upload")
    add("--recipe", choices=FORMS, default="", help="push it in this precision, as a variant of its own; needs torch")
    add("--verify", choices=("head", "full"), default="head", help="compare the checksum the server states, or read everything back")
    add("--no-sha256", action="store_true", help="do not hash the file first; its SHA-256 is then not in the object's metadata")
    for name, text in (
        ("--model-version", "version of the model"),
        ("--source-url", "where it comes from"),
        ("--licence", "its licence"),
        ("--architecture", "instead of what the tensors say"),
        ("--storage-class", "storage class of the provider, STANDARD_IA for example"),
    ):
        add(name, default="", metavar="TEXT", help=text)
    add("--license", dest="licence", help=argparse.SUPPRESS)
    add("--compress", action="store_true", help="also make the compressed form, where it shrinks (docs/compression.md)")
    add("--connections", type=int, default=0, metavar="N", help="at most so many (default: 8)")
    add("--part-mb", type=int, default=0, metavar="N", help="MiB of a part (default: by size and rate)")


def run(options: argparse.Namespace) -> int:
    config = read_config(options)
    origin, path = _destination(options.to, config)
    if len(options.files) > 1 and path and not path.endswith("/"):
        raise ConfigError("several files cannot have one name", next_step=f"end it with a slash: --to {options.to}/")
    pushing = _Pushing(options, config, origin, uploads_state(options))
    done: list[Published] = []
    failed: list[Mapping[str, str]] = []
    for file in options.files:
        try:
            with in_precision(options, file) as made:
                published = pushing.push(made, path)
            if options.compress:
                pushing.compress(published)
        except ModelStreamError as error:
            warn(f"{file.name}: {error}")
            failed.append({"file": file.name, "code": error.code, "message": str(error)})
        except KeyboardInterrupt:
            warn(f"{file.name}: stopped; the same command goes on where it was, and `modelstream gc` removes what it left")
            return INTERRUPTED
        else:
            done.append(published)
            if not options.json:
                say(_line(published))
    if options.json:
        print_json({"pushed": done, "failed": failed})
    return INCOMPLETE if failed else DONE


def uploads_state(options: argparse.Namespace) -> Path:
    """Where interrupted uploads are noted: a ComfyUI's state folder, else beside the configuration; never a new folder just here."""
    state = state_directory(options.comfyui)
    return state if state.is_dir() else config_path(options).parent


def _destination(to: str, config: Config) -> tuple[Origin, str]:
    """(origin, path below its prefix; empty: by the file)."""
    from ..storage.origin import open_origins

    origins = {origin.name: origin for origin in open_origins(config)}
    name, colon, path = to.partition(":")
    if to and not colon:
        raise ConfigError("--to needs an origin", next_step=f"write --to ORIGIN:FOLDER/NAME; configured: {', '.join(origins)}")
    name = name or config.publish.origin or next(iter(origins))
    if name not in origins:
        raise ConfigError(f"no origin is called {shown(name)}", next_step=f"configured: {', '.join(origins)}")
    return origins[name], path


@dataclass
class _Pushing:
    options: argparse.Namespace
    config: Config
    origin: Origin
    state: Path

    def push(self, file: Path, path: str) -> Published:
        from ..storage.publish import publish

        request = self._request(file, path)
        with _phases(self.options, file.name) as show:
            published = publish(self.origin, request, self._settings(), others=self._others, show=show)
        if published.rate_bytes_per_s:
            self._remember(published.rate_bytes_per_s)
        return published

    def compress(self, published: Published) -> None:
        """Reads it back from the bucket: what is compressed is what was stored."""
        from .compress import make_form

        made = make_form(self.origin, published.key, self.state, lambda done: None)
        if not self.options.json:
            say(made)

    def _request(self, file: Path, path: str) -> PublishRequest:
        from ..storage.publish import key_for
        from ..storage.publish_check import examine
        from ..storage.publish_plan import Labels, PublishRequest
        from ..storage.publish_source import SourceFile

        o = self.options
        folder = ""
        if not path:
            with SourceFile(file) as source:
                folder = examine(source, allow_pickle=True).kind.folder
        return PublishRequest(
            path=file,
            key=key_for(self.origin, path, file.name, folder),
            labels=Labels(o.model_version, o.source_url, o.licence, o.architecture),
            overwrite=o.overwrite,
            if_match=o.if_match,
            allow_pickle=o.allow_pickle,
            same=o.same,
            verify=o.verify,
            sha256=not o.no_sha256,
            storage_class=o.storage_class,
        )

    def _settings(self) -> PublishSettings:
        from ..storage.publish import PublishSettings

        mine = self.config.publish
        return PublishSettings(
            transfer=self.config.transfer,
            state=self.state,
            connections_max=self.options.connections or mine.connections_max,
            part_bytes=self.options.part_mb << 20 or mine.part_bytes,
            rate_limit_bytes_per_s=mine.rate_limit_bytes_per_s,
            rate_bytes_per_s=self._rates().get(self.origin.name, 0.0),
        )

    def _others(self) -> Sequence[RemoteObject]:
        """What the bucket has of the size of one of our files.  Keys that may not list see none."""
        sizes = set()
        for file in self.options.files:
            with contextlib.suppress(OSError):
                sizes.add(file.stat().st_size)
        try:
            return [obj for page in self.origin.list_pages() for obj in page if obj.size_bytes in sizes]
        except AccessDenied:
            return ()

    def _rates(self) -> dict[str, float]:
        from ..cache.state_file import StateFile

        found = StateFile(self.state / RATES_FILE).read()
        rows: Iterable[tuple[Any, Any]] = found.items() if isinstance(found, dict) else ()
        return {name: float(rate) for name, rate in rows if isinstance(rate, (int, float)) and rate > 0}

    def _remember(self, rate_bytes_per_s: float) -> None:
        from ..cache.state_file import StateFile

        with contextlib.suppress(OSError):  # the next push then chooses its parts without it
            StateFile(self.state / RATES_FILE).write({**self._rates(), self.origin.name: round(rate_bytes_per_s)})


@contextlib.contextmanager
def in_precision(options: argparse.Namespace, file: Path) -> Iterator[Path]:
    """The file itself, or with --recipe a converted one beside it for as long as it is pushed."""
    if not options.recipe:
        yield file
        return
    try:
        import torch  # noqa: F401 - before anything is written
    except ImportError:
        raise ConfigError("--recipe needs torch", next_step="run it with ComfyUI's own Python") from None
    from ..cache.convert_file import convert_file

    folder = Path(tempfile.mkdtemp(prefix=".modelstream-", dir=file.parent))
    try:
        made = folder / f"{file.stem}-{options.recipe}{file.suffix}"
        with _phases(options, file.name) as show:
            report = convert_file(file, made, options.recipe, lambda done, total: show("converting", done, total))
        if not options.json:
            worst, error = report.worst
            stay = f", {count_text(len(report.stays), 'layer')} stay as they are" if report.stays else ""
            layers = count_text(len(report.errors), "layer")
            say(f"{shown(file.name)}: {layers} in {options.recipe}{stay}; largest error {error:.3f} in {shown(worst)}")
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _phases(options: argparse.Namespace, name: str) -> Iterator[Show]:
    """A bar for each phase of one file."""
    with contextlib.ExitStack() as bars:
        present: tuple[str, Callable[[float, str], None]] | None = None

        def show(what: str, done: int, total: int) -> None:
            nonlocal present
            if present is None or present[0] != what:
                bars.close()
                present = (what, bars.enter_context(progress_bar(options, total, title=f"{what} {shown(name)}"[:60])))
            present[1](done, "")

        yield show


def _line(p: Published) -> str:
    words = {
        "uploaded": f"{size_text(p.size_bytes)} in {duration_text(p.seconds)} ({rate_text(p.size_bytes / max(p.seconds, 1e-9))})",
        "resumed": f"went on after {size_text(p.resumed_bytes)}; {size_text(p.size_bytes)} are there now",
        "copied": f"copied inside the bucket from {shown(p.copied_from)}",
        "unchanged": "it was there already",
    }
    checked = {"": "not verified: these keys may not look", "size": "its size is verified", "full": "read back and verified"}
    how = checked.get(p.verified, f"verified by {p.verified}")
    again = f", {count_text(p.retries, 'repetition')}" if p.retries else ""
    return f"{shown(p.subject)}: {words[p.how]}{again}; {how}"
