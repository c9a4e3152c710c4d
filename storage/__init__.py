"""Buckets: configuration, origins, the catalog, the wire, transfers and the safetensors header.

Knows neither torch nor ComfyUI, so that everything here can be used, tested and reasoned about without them.
Importing a module of this room touches no network and no file; boto3 and botocore are imported on first need.
"""

from __future__ import annotations

VERSION = "0.1.0"
"""the extension's version, sent as user agent and written into the catalog snapshot"""
