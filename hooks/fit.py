"""How much memory a model will take, from its header alone, and whether that is there: the one place that is asked.

An estimate is made once for an object, a size of picture and what ComfyUI would choose here, and kept; what the devices have is
looked at every time.  Reads a header (from the bucket if need be) and takes up to seconds of CPU: not for the event loop.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..cache.fit import Component, Estimate, Verdict, Work, judge
from ..cache.headers_of_files import read_header
from ..cache.state_file import StateFile
from ..storage.config_precision import form_for
from ..storage.errors import InvalidSafetensors
from .fit_build import Built, NotKnown, build
from .fit_folders import CHECKPOINTS, DIFFUSION, TEXT, VAES
from .fit_kept import KeptEstimates
from .fit_room import Rooms
from .fit_shapes import PICTURE, Size, latent_shape, vae_latent
from .fit_trace import trace_decode, trace_step
from .seam import place_of

if TYPE_CHECKING:
    from ..storage.objects import RemoteObject
    from ..storage.safetensors_header import SafetensorsHeader
    from .runtime import Runtime

KEPT = 512
MODEL, CLIP, VAE, VISION, OTHER = "diffusion_model", "text_encoder", "vae", "clip_vision", "other"
KIND_OF_FOLDER = {DIFFUSION: MODEL, TEXT: CLIP, VAES: VAE}


@dataclass(frozen=True, slots=True)
class Fit:
    """What is answered: the estimate, the verdict over the devices of this moment, and those devices."""

    estimate: Estimate
    verdict: Verdict
    rooms: Mapping[str, Any]


class Estimator:
    """Thread-safe; one estimate is made at a time."""

    def __init__(self, runtime: Runtime, rooms: Rooms, file: StateFile | None = None) -> None:
        """file: where estimates of objects are kept over a restart; None: they are not."""
        self._runtime = runtime
        self.rooms = rooms
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._file = KeptEstimates(file or StateFile(None))
        self._kept: OrderedDict[Any, Estimate] = self._file.read()

    def of_object(self, obj: RemoteObject, folder: str, size: Size = PICTURE, name: str = "") -> Fit:
        """In the precision that the owner's rules want it in.  Raises the errors of storage.errors where the header cannot be read.

        name: as a loader has it, for the rules; without one the object is taken as it is
        """
        return self.in_form(obj, folder, wanted_form(self._runtime, folder, name), size)

    def in_form(self, obj: RemoteObject, folder: str, form: str | None, size: Size = PICTURE) -> Fit:
        """As it would be after conversion on the way in (`cache.recipe.FORMS`); None: as it is.  A form that it cannot have is none."""

        def read() -> SafetensorsHeader:
            header = self._runtime.cache.header(obj)
            return header if form is None else _converted(header, form)

        return self._answer((obj.id.digest, folder, form, size, choices()), obj.subject, obj.size_bytes, folder, size, read)

    def of_file(self, path: str, folder: str, size: Size = PICTURE) -> Fit:
        """Of a local file.  Raises InvalidSafetensors and OSError."""
        import os

        status = os.stat(path)
        key = (path, status.st_mtime_ns, status.st_size, folder, size, choices())
        return self._answer(key, os.path.basename(path), status.st_size, folder, size, lambda: read_header(path))

    def by_name(self, folder: str, name: str, size: Size = PICTURE) -> Fit | None:
        """As a loader names it: a local file first, then the buckets.  None where neither has a safetensors file of that name."""
        from .folders import local_file, view_of
        from .pickles import is_safetensors_name

        view = view_of(folder)
        if view is None or not is_safetensors_name(name):
            return None
        path = local_file(folder, name)
        if path is not None:
            return self.of_file(path, folder, size)
        obj = self._runtime.catalog.find(view, name)
        return None if obj is None else self.of_object(obj, folder, size, name)

    def known(self, obj: RemoteObject, folder: str, name: str, size: Size = PICTURE) -> Estimate | None:
        """From memory only."""
        with self._lock:
            return self._kept.get((obj.id.digest, folder, wanted_form(self._runtime, folder, name), size, choices()))

    def _answer(self, key: Any, subject: str, size_bytes: int, folder: str, size: Size, read: Any) -> Fit:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        if found is None:
            with self._making:
                found = _alone(lambda: estimate(subject, size_bytes, folder, read, size))
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
                kept = dict(self._kept)
            with self._making:
                self._file.write(kept)
        return self.judged(found)

    def judged(self, found: Estimate) -> Fit:
        rooms = self.rooms.of(one.device for one in found.components)
        return Fit(found, judge(found, rooms), rooms)


def wanted_form(runtime: Runtime, folder: str, name: str) -> str | None:
    """That the owner's rules name for it, where this ComfyUI can run it."""
    from ..cache.recipe import FORMS
    from .precision import missing_for

    form = form_for(runtime.config.precision, folder, name) if name else None
    return None if form is None or missing_for(FORMS[form], folder) else form


def _converted(header: SafetensorsHeader, form: str) -> SafetensorsHeader:
    from ..cache.planned_header import planned_header
    from ..cache.precision import plan, recipe_for

    try:
        return planned_header(header, plan(header, recipe_for(form))) or header
    except InvalidSafetensors:  # nothing to convert: it comes as it is
        return header


def _alone(work: Callable[[], Estimate]) -> Estimate:
    """In a thread of its own: torch's modes are a thread's, and the one that asks may be in some (a node is in inference mode)."""
    done: list[Estimate] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="modelstream-estimate", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def choices() -> tuple[Any, ...]:
    """What ComfyUI's choice of dtypes and devices depends on, as far as it can change while it runs."""
    management = sys.modules["comfy.model_management"]
    return (str(management.get_torch_device()), str(management.text_encoder_device()), str(management.vae_device()))


def estimate(subject: str, size_bytes: int, folder: str, read: Any, size: Size) -> Estimate:
    """read: the header; it is asked for once."""
    try:
        header: SafetensorsHeader = read()
    except InvalidSafetensors as error:
        return Estimate(subject, size_bytes, "", (Component(OTHER, "", {"": size_bytes}),), problem=error.problem)
    stored = Component(KIND_OF_FOLDER.get(folder, OTHER), "", _by_dtype(header, header.tensors))
    try:
        built = build(header, folder)
    except NotKnown as unknown:
        return Estimate(subject, size_bytes, "", (stored,), problem=str(unknown))
    components = tuple(_components(header, folder, built))
    disagreement = _disagreement(components)
    if disagreement:
        return Estimate(subject, size_bytes, "", (stored,), problem=disagreement)
    latent = latent_shape(built.config, size) if built.config is not None else vae_latent(built.vae, size)
    work = tuple(_work(built, latent)) if latent else ()
    return Estimate(subject, size_bytes, _architecture(built), components, work, latent)


# -- components ----------------------------------------------------------------------------------------------------------------
def _components(header: SafetensorsHeader, folder: str, built: Built) -> Iterable[Component]:
    names = _names(header, folder, built.config)
    vision = getattr(built.clip_vision, "patcher", None)
    parts = {
        MODEL: built.model,
        CLIP: getattr(built.clip, "patcher", None),
        VAE: getattr(built.vae, "patcher", None),
        VISION: vision,
    }
    for kind, patcher in parts.items():
        if patcher is not None and (names.get(kind) or patcher.model_size()):
            stored = _by_dtype(header, names.pop(kind, ()))
            yield Component(kind, _class_of(patcher.model), stored, _loaded(patcher.model), str(patcher.load_device))
    rest = [name for left in names.values() for name in left]
    if rest:
        yield Component(OTHER, "", _by_dtype(header, rest))


def _names(header: SafetensorsHeader, folder: str, config: Any) -> dict[str, list[str]]:
    """Which tensors belong to which part, by the prefixes that ComfyUI's description of the architecture has."""
    if folder != CHECKPOINTS:
        return {KIND_OF_FOLDER[folder]: list(header.tensors)}
    detection = sys.modules["comfy.model_detection"]
    prefixes: list[tuple[str, str]] = [(detection.unet_prefix_from_state_dict(header.tensors), MODEL)]
    prefixes += [(prefix, VAE) for prefix in config.vae_key_prefix] + [(prefix, CLIP) for prefix in config.text_encoder_key_prefix]
    if config.clip_vision_prefix is not None:
        prefixes.append((config.clip_vision_prefix, VISION))
    found: dict[str, list[str]] = {}
    for name in header.tensors:
        kind = next((kind for prefix, kind in sorted(prefixes, key=lambda one: -len(one[0])) if name.startswith(prefix)), OTHER)
        found.setdefault(kind, []).append(name)
    return found


def _by_dtype(header: SafetensorsHeader, names: Iterable[str]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for name in names:
        tensor = header.tensors[name]
        found[tensor.dtype] += tensor.end - tensor.start
    return dict(found)


def _loaded(module: Any) -> dict[str, int]:
    """As ComfyUI's ``module_size`` counts."""
    found: Counter[str] = Counter()
    for tensor in module.state_dict().values():
        found[str(tensor.dtype).removeprefix("torch.")] += tensor.nelement() * tensor.element_size()
    return {dtype: size_bytes for dtype, size_bytes in found.items() if size_bytes}


def _class_of(module: Any) -> str:
    return type(module).__name__


def _architecture(built: Built) -> str:
    """ComfyUI's own name: of its description where there is one, else of the module."""
    if built.config is not None:
        return type(built.config).__name__
    return _class_of(built.clip.cond_stage_model if built.clip is not None else built.vae.first_stage_model)


LEAST_SHARE = 0.5


def _disagreement(components: tuple[Component, ...]) -> str:
    """A file that names one architecture and holds little of it: ComfyUI would fill the rest with whatever lies in memory.

    Counted in elements, since precisions differ; a text encoder may be there as a placeholder.
    """
    for one in components:
        if one.kind == MODEL and _elements(one.stored) < LEAST_SHARE * _elements(one.loaded):
            return f"its names are those of {one.name}, but it holds less than half of its weights"
    return ""


def _elements(by_dtype: Mapping[str, int]) -> float:
    from ..storage.safetensors_header import DTYPE_BITS

    bits = {"float32": 32, "float64": 64, "int64": 64, "int32": 32, "float16": 16, "bfloat16": 16, **DTYPE_BITS}
    return sum(size_bytes * 8 / bits.get(dtype, 8) for dtype, size_bytes in by_dtype.items())


# -- working memory --------------------------------------------------------------------------------------------------------------
def _work(built: Built, latent: tuple[int, ...]) -> Iterable[Work]:
    """Of the diffusion model with a condition and its opposite in one batch, and of making the picture."""
    if built.model is not None:
        model, both = built.model.model, (latent[0] * 2, *latent[1:])
        asked, least = (int(model.memory_required(list(shape))) for shape in (both, latent))
        yield Work(MODEL, asked, least, _traced(trace_step, model, both, built.model.load_device))
    if built.vae is not None:
        asked = int(built.vae.memory_used_decode(latent, built.vae.vae_dtype))
        yield Work(VAE, asked, asked, _traced(trace_decode, built.vae, latent, built.vae.device))


def _traced(trace: Any, model: Any, latent: tuple[int, ...], device: Any) -> int | None:
    """None where an architecture wants values, or inputs that nobody here knows of: ComfyUI's own figure is there then."""
    try:
        found: int | None = trace(model, latent, device)
    except Exception as error:
        import logging

        logging.getLogger("modelstream").debug("[modelstream] working memory is not known: %s", place_of(error))
        return None
    return found
