"""What the ComfyUI registry would serve (everything that .comfyignore leaves in), against the text rules of its scanner.

The rules are plain text matches, as the scanner's are, over Python, JavaScript, Markdown and the rest; a comment counts.
Every match that stays has its reason in ``ALLOWED``; an entry that no longer matches fails too.  The way to get a
match off the list is to need less, never to spell it differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pathspec import GitIgnoreSpec

ROOT = Path(__file__).resolve().parents[1]
TEXT = {".py", ".js", ".css", ".md", ".json", ".toml", ".txt", ".html", ".svg", ".sh", ".yml", ".yaml", ""}

SCANNER = {
    "environment": r"os\.environ|getenv\(|process\.env",
    "http client": r"\brequests\.\w|\burllib\.request|\burlopen\(|aiohttp\.ClientSession|\bhttpx\b|HTTPS?Connection\(|XMLHttpRequest",
    "socket": r"socket\.socket\(|\.connect\(|\.bind\(|\.send\(|\.sendall\(|\.recv\(|\.recv_into\(|new WebSocket",
    "process": r"\bsubprocess\b|os\.system|os\.popen|os\.exec|os\.spawn|pty\.spawn|child_process",
    "dynamic code": r"(?<!\w)eval\(|(?<![.\w])exec\(|(?<![.\w])compile\(|__import__|import_module\(|new Function\(",
    "pickle": r"\bpickle\.loads?\b|\btorch\.load\(|\bmarshal\.|\bshelve\.",
    "cryptography": r"(import|from) (cryptography|Crypto|nacl)\b",
    "installing": r"\bpip install\b|\bensurepip\b",
    "obfuscation": r"b64decode|a85decode|\bcodecs\.decode|\bzlib\.decompress|\bchr\(\d+\)\s*\+",
    "privilege": r"\bsudo\b|\bsetuid\b|/etc/(passwd|shadow)|chmod 777",
    "hosts": r"raw\.githubusercontent|gist\.github|pastebin|discord(app)?\.com|ngrok|bit\.ly|webhook\.site|transfer\.sh",
}

ALLOWED = {
    ("storage/environment.py", "environment"): "the one module that reads the environment; says which names",
    ("storage/wire.py", "http client"): "the one module that speaks HTTP, to the origins of the owner's configuration only",
    ("storage/checksum.py", "obfuscation"): "S3 writes a checksum in base64: eight bytes, compared and never run",
}


def ignored_by(*names: str) -> GitIgnoreSpec:
    lines = [line for name in names for line in (ROOT / name).read_text("utf-8").splitlines()]
    return GitIgnoreSpec.from_lines([".git/", *lines])


def files(ignored: GitIgnoreSpec, folder: Path = ROOT) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        name = path.relative_to(ROOT).as_posix() + ("/" if path.is_dir() else "")
        if ignored.match_file(name) or path.is_symlink():
            continue
        if path.is_dir():
            yield from files(ignored, path)
        else:
            yield path


SHIPPED = list(files(ignored_by(".gitignore", ".comfyignore")))
TRACKED = list(files(ignored_by(".gitignore")))


def matches(rules: dict[str, str], paths: list[Path]) -> list[tuple[str, str, int, str]]:
    """(file, rule, line number, line) of every match in a text file."""
    compiled = {name: re.compile(rule) for name, rule in rules.items()}
    found = []
    for path in paths:
        if path.suffix in TEXT:
            for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
                where = path.relative_to(ROOT).as_posix()
                found += [(where, name, number, line.strip()) for name, rule in compiled.items() if rule.search(line)]
    return found


def test_the_archive_holds_the_extension_and_nothing_else():
    top = {path.relative_to(ROOT).parts[0] for path in SHIPPED}
    assert {"__init__.py", "prestartup_script.py", "requirements.txt", "pyproject.toml", "LICENSE"} <= top
    assert {"storage", "cache", "hooks", "nodes", "telemetry"} <= top
    assert not top & {"tests", "bench", "docs", "dev.py"}
    assert not [name for name in top if name.startswith(".")]


def test_every_match_of_the_scanner_has_a_written_reason():
    found = [m for m in matches(SCANNER, SHIPPED) if (m[0], m[1]) not in ALLOWED]
    assert not found, "\n".join(f"{where}:{number} [{rule}] {line}" for where, rule, number, line in found)


@pytest.mark.parametrize("entry", ALLOWED, ids="-".join)
def test_every_written_reason_is_still_needed(entry):
    assert entry in {(where, rule) for where, rule, _, _ in matches(SCANNER, SHIPPED)}
    assert len(ALLOWED[entry]) > 20


def test_the_rules_do_find_what_they_are_for():
    probes = {
        "environment": 'os.environ["X"]',
        "http client": "requests.get(url)",
        "socket": "s.connect(a)",
        "process": "import subprocess",
        "dynamic code": "eval(x)",
        "pickle": "pickle.loads(b)",
        "cryptography": "from cryptography import x",
        "installing": "pip install x",
        "obfuscation": "b64decode(x)",
        "privilege": "sudo x",
        "hosts": "raw.githubusercontent.com",
    }
    assert probes.keys() == SCANNER.keys()
    assert [rule for rule, probe in probes.items() if not re.search(SCANNER[rule], probe)] == []
    assert not re.search(SCANNER["dynamic code"], "re.compile(x)")


def test_nothing_names_a_package_registry_or_a_path_of_one_machine():
    rules = {
        "registry": r"\b(pypi|npmjs|pythonhosted|deb\.debian)\.(org|com)\b",
        "path": r"(?<![\w.])/(home|root|Users|work)/[A-Za-z]",
    }
    found = [m for m in matches(rules, TRACKED) if m[0] != Path(__file__).relative_to(ROOT).as_posix()]
    assert not found, "\n".join(f"{where}:{number} [{rule}] {line}" for where, rule, number, line in found)


def test_requirements_hold_lower_bounds_and_never_torch():
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines()]
    for line in filter(None, lines):
        name = re.match(r"[A-Za-z0-9._-]+", line).group().lower()
        assert name not in {"torch", "torchvision", "torchaudio", "numpy"}
        assert "==" not in line and "<" not in line.partition(";")[0], line
