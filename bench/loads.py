"""The peers, each driven as its own documentation says.  Libraries are imported inside ``load``: that is on the clock."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

from .jobs import Client, Loaded, Target

MIB = 1 << 20


class RunAi(Client):
    """Run:ai Model Streamer.  Its settings are environment variables, given by whoever starts the process."""

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        from runai_model_streamer import SafetensorsStreamer

        found: dict[int, dict[str, Any]] = {}
        with SafetensorsStreamer() as streamer:
            # One session for one file: with several, get_tensors does not say which file a tensor is of.
            for index, target in enumerate(targets):
                streamer.stream_file(f"s3://{self.job.bucket}/{target.key}")
                found[index] = dict(streamer.get_tensors())
        return Loaded(state_dicts=[found[index] for index in range(len(targets))])


class Downloads(Client):
    """Base of the tools that make a file, which safetensors then loads.  option "memory": the file is on tmpfs."""

    def warm(self) -> None:
        import safetensors.torch  # noqa: F401

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        in_memory = bool(self.job.options.get("memory"))
        paths = [self.job.fresh_path(target, in_memory=in_memory) for target in targets]
        self.download(targets, paths)
        from safetensors.torch import load_file

        return Loaded(state_dicts=[load_file(path) for path in paths])

    def download(self, targets: tuple[Target, ...], paths: list[Path]) -> None:
        raise NotImplementedError


class S5cmd(Downloads):
    def download(self, targets: tuple[Target, ...], paths: list[Path]) -> None:
        flags = [str(flag) for flag in self.job.options.get("flags", ())]
        base = [self.job.options["program"], "--endpoint-url", self.job.endpoint]
        if len(targets) == 1:
            run([*base, "cp", *flags, f"s3://{self.job.bucket}/{targets[0].key}", str(paths[0])])
            return
        lines = [f"cp {' '.join(flags)} s3://{self.job.bucket}/{t.key} {path}" for t, path in zip(targets, paths, strict=True)]
        run([*base, "run"], "\n".join(lines))


class Rclone(Downloads):
    """Configured by environment variables, given by whoever starts the process (remote ``bench``)."""

    def download(self, targets: tuple[Target, ...], paths: list[Path]) -> None:
        flags = [str(flag) for flag in self.job.options.get("flags", ())]
        program = self.job.options["program"]
        at_once(lambda t, path: run([program, "copyto", *flags, f"bench:{self.job.bucket}/{t.key}", str(path)]), targets, paths)


class Boto3(Downloads):
    """``download_file``: option "mib" and "threads" for its TransferConfig, "crt" for the C client."""

    def download(self, targets: tuple[Target, ...], paths: list[Path]) -> None:
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config

        client = boto3.client(
            "s3", endpoint_url=self.job.endpoint, use_ssl=False, region_name="us-east-1", config=Config(s3={"addressing_style": "path"})
        )
        options: dict[str, Any] = {}
        if mib := self.job.options.get("mib"):
            threads = self.job.options["threads"]
            options = {"multipart_threshold": mib * MIB, "multipart_chunksize": mib * MIB, "max_concurrency": threads}
        if self.job.options.get("crt"):
            options["preferred_transfer_client"] = "crt"
        config = TransferConfig(**options)
        at_once(lambda t, path: client.download_file(self.job.bucket, t.key, str(path), Config=config), targets, paths)


class Obstore(Client):
    """Ranges into one preallocated buffer ("threads", "mib"), or one plain get (its default); then safetensors over the bytes."""

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        import obstore
        from obstore.store import S3Store

        store = S3Store(
            self.job.bucket,
            endpoint=self.job.endpoint,
            access_key_id=self.job.access_key,
            secret_access_key=self.job.secret_key,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
        loaded = []
        for target in targets:
            if not self.job.options.get("threads"):
                loaded.append(views(memoryview(obstore.get(store, target.key).bytes())))
                continue
            buffer = memoryview(bytearray(target.size_bytes))
            self._ranges(obstore, store, target, buffer)
            loaded.append(views(buffer))
        return Loaded(state_dicts=loaded)

    def _ranges(self, obstore: Any, store: Any, target: Target, buffer: memoryview) -> None:
        part = int(self.job.options["mib"]) * MIB
        offsets = iter(range(0, target.size_bytes, part))
        lock = threading.Lock()

        def serve() -> None:
            while True:
                with lock:
                    offset = next(offsets, None)
                if offset is None:
                    return
                end = min(offset + part, target.size_bytes)
                buffer[offset:end] = memoryview(obstore.get_range(store, target.key, start=offset, end=end))

        join_all([threading.Thread(target=serve) for _ in range(int(self.job.options["threads"]))])


class Tensorizer(Client):
    """The object in tensorizer's own format; "readers" as its documentation advises, else its default."""

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        from tensorizer import TensorDeserializer, stream_io

        loaded = []
        for target in targets:
            options = {"num_readers": readers} if (readers := self.job.options.get("readers")) else {}
            source = stream_io.open_stream(
                f"s3://{self.job.bucket}/{target.key}",
                "rb",
                s3_access_key_id=self.job.access_key,
                s3_secret_access_key=self.job.secret_key,
                s3_endpoint=self.job.endpoint.partition("://")[2],
                force_http=True,
            )
            with TensorDeserializer(source, device="cpu", **options) as found:
                loaded.append({name: found[name] for name in found.keys()})  # noqa: SIM118  it is no dict
        return Loaded(state_dicts=loaded)


def views(buffer: memoryview) -> dict[str, Any]:
    """Tensors over a safetensors file in memory."""
    import json

    import torch

    dtypes = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "I64": torch.int64, "U8": torch.uint8}
    length = int.from_bytes(buffer[:8], "little")
    header = json.loads(bytes(buffer[8 : 8 + length]))
    whole = torch.frombuffer(buffer, dtype=torch.uint8)[8 + length :]
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            piece = whole[start:end]
            dtype = dtypes[entry["dtype"]]
            aligned = piece if piece.data_ptr() % dtype.itemsize == 0 else piece.clone()
            found[name] = aligned.view(dtype).view(entry["shape"])
    return found


def at_once(load: Any, targets: tuple[Target, ...], paths: list[Path]) -> None:
    if len(targets) == 1:
        load(targets[0], paths[0])
        return
    join_all([threading.Thread(target=load, args=pair) for pair in zip(targets, paths, strict=True)])


def join_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(command: list[str], text: str = "") -> None:
    subprocess.run(command, input=text.encode(), check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))


CLIENTS: dict[str, type[Client]] = {
    "Run:ai": RunAi,
    "s5cmd": S5cmd,
    "rclone": Rclone,
    "boto3": Boto3,
    "obstore": Obstore,
    "tensorizer": Tensorizer,
}
