"""Takes credentials out of text.

Two nets: the literal secrets that the caller knows, and the forms in which S3 clients print secrets (measured:
botocore at DEBUG logs the key id and the whole signature, endpoint errors repeat a URL's userinfo, presigned URLs
carry key id, token and signature).  A secret that is neither known nor in one of these forms is not found: whoever
writes a message must still not put one there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "[redacted]"

SHORTEST_SECRET = 6
"""shorter literals ("test") would take ordinary words out of every line"""

_SIGNED_NAMES = r"x-amz-(?:signature|credential|security-token)|awsaccesskeyid|(?<![a-z-])signature"
_SECRET_NAMES = r"(?:aws[_-]?)?(?:secret(?:[_-]?access)?[_-]?key|session[_-]?token|security[_-]?token)|password|secret"
_NOT_YET = r"""(?!\s*b?['"]?\[redacted\])"""
_VALUE = r"""[^\s'",;&<>)}\]]"""

_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    # https://user:password@host
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@'\"<>?#]+@"), rf"\1{HIDDEN}@"),
    # the whole query of a presigned URL (or request target, or canonical request): nothing in it helps a reader
    (re.compile(rf"(?i)\?[^\s'\"<>]*?(?:{_SIGNED_NAMES})=[^\s'\"<>]*"), f"?{HIDDEN}"),
    # Authorization: AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…   (a header line or a repr of one)
    (re.compile(rf"(?i)(authorization['\"]?\s*[:=,]{_NOT_YET}\s*b?['\"]?)[^'\"\r\n]+"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)\b(AWS4-HMAC-SHA256\s+Credential=){_NOT_YET}[^\r\n'\"]+"), rf"\1{HIDDEN}"),
    # one parameter or header on its own; "Signature:" also with its value on the next line, as botocore prints it
    (re.compile(rf"(?i)({_SIGNED_NAMES})(['\"]?\s*[:=,]{_NOT_YET}\s*b?['\"]?){_VALUE}{{8,}}"), rf"\1\2{HIDDEN}"),
    (re.compile(rf"(?i)({_SECRET_NAMES})(['\"]?\s*[:=]{_NOT_YET}\s*b?['\"]?){_VALUE}{{6,}}"), rf"\1\2{HIDDEN}"),
    # key ids of AWS's own shape, wherever they are
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"), HIDDEN),
)

_HINT = re.compile(r"(?i)://[^\s/]*@|amz-|signature|authorization|secret|token|password|AKIA|ASIA|awsaccesskeyid|AWS4")
"""a cheap first look: most lines hold none of these"""


class Redactor:
    """Thread-safe: the literals are replaced as one value."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._literals: tuple[str, ...] = ()
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """More literals to hide, e.g. refreshed credentials.  Blank and very short ones are ignored."""
        more = {s for s in secrets if len(s) >= SHORTEST_SECRET}
        self._literals = tuple(sorted(more.union(self._literals), key=len, reverse=True))

    def text(self, text: str) -> str:
        """The text without credentials; the same object when there was nothing to hide."""
        for literal in self._literals:
            if literal in text:
                text = text.replace(literal, HIDDEN)
        if _HINT.search(text):
            for form, replacement in _FORMS:
                text = form.sub(replacement, text)
        return text
