"""What is different about each S3 service, as a table.  ``docs/providers.md`` says the same in words.

A preset only fills in what the profile leaves open; every key written in the profile wins.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """endpoint: with ``{region}`` where the service has one host per region; empty where the profile must give it
    region: the default; empty where the profile must give it
    addressing: what ``auto`` means
    checksums: the value of both checksum settings where the profile leaves them open
    """

    name: str
    endpoint: str = ""
    region: str = ""
    addressing: str = "path"
    checksums: str = "when_required"
    note: str = ""


_TABLE = (
    Preset("aws", addressing="virtual", checksums="when_supported", note="the endpoint follows from the region"),
    Preset("minio", region="us-east-1", note="objects made by old releases have no CRC64NVME: size and ETag are checked"),
    Preset("seaweedfs", region="us-east-1", note="set keys: without any, SeaweedFS accepts everybody"),
    Preset("ceph", region="us-east-1", note="any region is accepted unless the zone group is strict"),
    Preset("r2", region="auto", note="endpoint https://ACCOUNT.r2.cloudflarestorage.com"),
    Preset("b2", endpoint="https://s3.{region}.backblazeb2.com", note="region as in the bucket's endpoint, e.g. us-west-004"),
    Preset("gcs", endpoint="https://storage.googleapis.com", region="auto", note="XML interoperability: HMAC keys"),
    Preset("wasabi", endpoint="https://s3.{region}.wasabisys.com", region="us-east-1", note="one host per region"),
)

PRESETS = {preset.name: preset for preset in _TABLE}

OTHER = Preset("", region="us-east-1", note="any S3 server, named by its endpoint")


def aws_host(region: str) -> str:
    """The regional S3 host of AWS.  Suffixes as in botocore's endpoints.json (partitions aws, aws-cn, aws-eusc, aws-iso*)."""
    suffixes = {
        "cn-": "amazonaws.com.cn",
        "eusc-": "amazonaws.eu",
        "us-iso-": "c2s.ic.gov",
        "us-isob-": "sc2s.sgov.gov",
        "us-isof-": "csp.hci.ic.gov",
        "eu-isoe-": "cloud.adc-e.uk",
    }
    suffix = next((value for start, value in suffixes.items() if region.startswith(start)), "amazonaws.com")
    return f"s3.{region}.{suffix}"
