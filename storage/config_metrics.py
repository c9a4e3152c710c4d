"""[metrics] and [access] of the configuration: what is measured and who may look at it."""

from __future__ import annotations

from dataclasses import dataclass

from .config_read import boolean, integer, key, texts


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    enabled: bool = key(boolean(), True)
    """False: nothing is counted but what the status shows, no thread, no file"""
    port: int = key(integer(0, 65535), 0)
    """a port of its own on 127.0.0.1 for Prometheus; 0: only ComfyUI's"""
    requests: bool = key(boolean(), True)
    """count and time ComfyUI's own requests"""
    executions: bool = key(boolean(), True)
    """follow ComfyUI's queue and executions"""
    gpu: bool = key(boolean(), True)
    """ask the driver, when somebody looks or a prompt runs"""
    history: bool = key(boolean(), True)
    """keep series, executions and costs on disk, below the state directory"""


@dataclass(frozen=True, slots=True)
class AccessConfig:
    allowed_hosts: tuple[str, ...] = key(texts(), ())
    """names of this server beside loopback and its address, as behind a proxy: without port"""
    open_reading: bool = key(boolean(), False)
    """on a network, status and metrics may be read without the admin token"""
