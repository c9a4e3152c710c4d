"""[publish] and [results] of the configuration: what may be written into buckets, by the panel and by nodes.

The command line needs neither: whoever can run it has the owner's rights anyway.  Both are off by default.
"""

from __future__ import annotations

from dataclasses import dataclass

from .config_read import boolean, integer, key, number, one_of, text, texts

GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class PublishConfig:
    enabled: bool = key(boolean(), False)
    """whether nodes and the panel may put models into a bucket"""
    origin: str = key(text(empty=False, most=64), "")
    """where models go; empty: the first origin"""
    folders: tuple[str, ...] = key(texts(), ("checkpoints", "loras", "diffusion_models", "vae", "text_encoders"))
    """ComfyUI folders that nodes and the panel may write to"""
    max_gb: float = key(number(0.001, 5 * 1024), 50.0)
    """GiB, the largest file that nodes and the panel may put there"""
    connections_max: int = key(integer(0, 64), 0)
    """0: 8"""
    part_size_mb: int = key(integer(0, 5120), 0)
    """MiB; 0: by size and rate"""
    rate_limit_mbit: float = key(number(0, 1e6), 0.0)
    """10**6 bits per second of one upload; 0: none"""

    @property
    def max_bytes(self) -> int:
        return int(self.max_gb * GIB)

    @property
    def part_bytes(self) -> int:
        return self.part_size_mb * MIB

    @property
    def rate_limit_bytes_per_s(self) -> float:
        return self.rate_limit_mbit * 125_000


@dataclass(frozen=True, slots=True)
class ResultsConfig:
    """Pictures that a workflow made, into and out of a bucket.  Off while ``origin`` is empty."""

    origin: str = key(text(empty=False, most=64), "")
    pattern: str = key(text(empty=False, most=256), "results/{date}/{prefix}_{counter}")
    """of the key below the origin's prefix, without extension; {date} {time} {prefix} {seed} {counter} {width} {height} {batch}"""
    metadata: str = key(one_of("keep", "strip"), "keep")
    """whether the workflow stays in the picture"""
    links: bool = key(boolean(), False)
    """whether nodes may hand out links that open a picture without credentials"""
    link_s: int = key(integer(1, 3600), 300)
    """how long such a link lives"""
    max_mb: float = key(number(0.001, 10240), 256.0)
    """MiB, the largest file that is saved or loaded"""

    @property
    def max_bytes(self) -> int:
        return int(self.max_mb * MIB)
