"""What an identity may do and nothing more: policy documents for those who read, upload and restore models.

Pure.  The documents are AWS's; SeaweedFS takes them as they are (``seaweedfs_identities``), and so do MinIO, Ceph and Wasabi as
user policies.  Nobody gets DeleteObject, PutBucketPolicy or ListAllMyBuckets: which buckets there are says the configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]

READER, UPLOADER, RESTORER = "reader", "uploader", "restorer"
ROLES = (READER, UPLOADER, RESTORER)

_READ = ("s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectAttributes")
_WRITE = ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
_RESTORE = ("s3:RestoreObject",)


@dataclass(frozen=True, slots=True)
class Area:
    """A bucket, or what is under a prefix of it ("" or ends with "/").

    kms_key: ARN of the key that encrypts it, where that is not S3's own
    """

    bucket: str
    prefix: str = ""
    kms_key: str = ""


def policy(role: str, areas: Sequence[Area], *, tls_only: bool = True, partition: str = "aws") -> Document:
    """The document of one role.

    reader:   lists and reads.  uploader: also puts and gives up uploads of its own; it cannot delete, and in a versioned bucket
    it cannot destroy by overwriting.  restorer: reads, and asks for archived objects back.
    tls_only: also refuses everything that is not encrypted on the way
    """
    actions = {READER: (), UPLOADER: _WRITE, RESTORER: _RESTORE}[role]
    statements: list[Document] = []
    for number, area in enumerate(areas):
        statements += _statements(area, (*_READ, *actions), f"{number or ''}", partition, lists_uploads=role == UPLOADER)
    if tls_only:
        buckets = [arn for area in areas for arn in (_arn(area.bucket, partition), f"{_arn(area.bucket, partition)}/*")]
        insecure = {"Bool": {"aws:SecureTransport": "false"}}
        statements.append({"Sid": "TlsOnly", "Effect": "Deny", "Action": "s3:*", "Resource": buckets, "Condition": insecure})
    return {"Version": "2012-10-17", "Statement": statements}


def _statements(area: Area, actions: tuple[str, ...], number: str, partition: str, *, lists_uploads: bool) -> list[Document]:
    bucket = _arn(area.bucket, partition)
    listing: dict[str, Any] = {"Sid": f"List{number}", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket}
    if area.prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": [area.prefix, f"{area.prefix}*"]}}
    found: list[Document] = [listing]
    if lists_uploads:
        # no condition: S3 has none for it, and what it shows are names of uploads under way
        found.append({"Sid": f"Uploads{number}", "Effect": "Allow", "Action": "s3:ListBucketMultipartUploads", "Resource": bucket})
    found.append({"Sid": f"Objects{number}", "Effect": "Allow", "Action": list(actions), "Resource": f"{bucket}/{area.prefix}*"})
    if area.kms_key:
        kms = ["kms:Decrypt", *(["kms:GenerateDataKey"] if lists_uploads else [])]
        found.append({"Sid": f"Kms{number}", "Effect": "Allow", "Action": kms, "Resource": area.kms_key})
    return found


def seaweedfs_identities(documents: Mapping[str, Document]) -> dict[str, Any]:
    """The file for ``weed s3 -config`` (or ``-s3.config``): an identity a role, whose keys are to be filled in.

    SeaweedFS checks the documents themselves (4.48).  Its own coarse actions would not do: "Write" lets an identity delete.
    """
    keys = [{"accessKey": "", "secretKey": ""}]
    return {
        "identities": [{"name": role, "credentials": keys, "policyNames": [f"modelstream-{role}"]} for role in documents],
        "policies": [{"name": f"modelstream-{role}", "content": json.dumps(document)} for role, document in documents.items()],
    }


def partition_of(region: str) -> str:
    """Of an AWS region, as it stands in resource names."""
    starts = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "us-iso-": "aws-iso", "us-isob-": "aws-iso-b", "eusc-": "aws-eusc"}
    return next((name for start, name in starts.items() if region.startswith(start)), "aws")


def _arn(bucket: str, partition: str) -> str:
    return f"arn:{partition}:s3:::{bucket}"
