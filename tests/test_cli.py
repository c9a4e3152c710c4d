"""What all commands of the command line have: the table, help, JSON, tables, exit codes and text that is safe on a terminal."""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.cli import main as command_line
from modelstream.cli.main import COMMANDS, Command, main, parser
from modelstream.cli.output import as_json, duration_text, print_json_rows, shown, size_text, time_text
from modelstream.cli.tables import Column, print_table
from modelstream.storage.landing import Priority

ROOT = Path(__file__).resolve().parents[1]


def leaves(commands: tuple[Command, ...] = COMMANDS, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    for command in commands:
        if command.load is not None:
            yield (*words, command.name), command
        yield from leaves(command.commands, (*words, command.name))


LEAVES = [pytest.param(words, command, id=" ".join(words)) for words, command in leaves()]


def modelstream(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "modelstream", *arguments], capture_output=True, text=True, timeout=120, **more)


@pytest.mark.parametrize(("words", "command"), LEAVES)
def test_every_command_has_help_with_examples_json_and_exit_codes(words, command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert "examples:" in text and "exit codes:" in text and "--json" in text and "--config" in text


@pytest.mark.parametrize(("words", "command"), LEAVES)
def test_every_example_is_a_command_line_that_is_understood(words, command):
    lines = command.load().EXAMPLES.strip().splitlines()
    assert lines
    for line in lines:
        given_words = shlex.split(line.partition(" > ")[0].partition(" | ")[0], comments=True)
        assert given_words[: len(words) + 1] == ["modelstream", *words], line
        assert callable(parser(given_words[1:]).parse_args(given_words[1:]).run), line


def test_help_imports_no_command_and_no_heavy_package():
    script = (
        "import sys\nfrom modelstream.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'boto3', 'botocore', 'numpy', 'tqdm', 'structlog'} & set(sys.modules)\n"
        "own = [n for n in sys.modules if n.startswith(('modelstream.cli.', 'modelstream.hooks', 'modelstream.cache'))]\n"
        "print(sorted(heavy), sorted(own), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert ended.stderr.strip() == "[] ['modelstream.cli.main', 'modelstream.cli.output', 'modelstream.cli.places']"
    assert all(command.name in ended.stdout for command in COMMANDS)


def test_a_wrong_command_line_and_a_missing_configuration_end_with_2(tmp_path):
    assert modelstream("nonsense").returncode == 2
    missing = modelstream("warm", "none.toml", "--comfyui", str(tmp_path))
    assert missing.returncode == 2 and missing.stderr.startswith("modelstream: ") and "What to do" in missing.stderr


def test_ctrl_c_ends_with_130(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    class Module:
        EXAMPLES = "modelstream x"
        add_options = staticmethod(lambda parser: None)
        run = staticmethod(interrupted)

    monkeypatch.setattr(command_line, "COMMANDS", (Command("x", "does x", lambda: Module()),))
    assert main(["x"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error():
    script = (
        "import sys\nfrom modelstream.cli import main as m\nfrom modelstream.cli.tables import print_table\n"
        "class Module:\n    EXAMPLES = 'modelstream x'\n    add_options = staticmethod(lambda p: None)\n"
        "    run = staticmethod(lambda o: print_table(['n'], ([str(i)] for i in range(1000000))) and 0)\n"
        "m.COMMANDS = (m.Command('x', 'does x', Module),)\nsys.exit(m.main(['x']))"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@given(st.text())
def test_what_is_shown_has_no_character_that_a_terminal_acts_upon(text):
    safe = shown(text)
    inner = safe[1:-1] if safe.startswith("\u2068") else safe
    assert inner.isprintable()
    inner.encode("utf-8")
    if text.isprintable() and text.isascii():
        assert safe == text


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[2J\x1b]0;x\x07", "\\x1b[2J\\x1b]0;x\\x07"),
        ("evil\u202egnp.exe", "evil\\u202egnp.exe"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("\ud800", "\\ud800"),
        ("模型/é.safetensors", "模型/é.safetensors"),
        ("\u05d0\u05d1", "\u2068\u05d0\u05d1\u2069"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_hostile_keys_are_shown_as_escapes(key, expected):
    assert shown(key) == expected


def test_a_table_lines_up_also_with_wide_letters_and_never_breaks_a_line(capsys):
    rows = [["模型", "7", "a\nb"], ["x", "1,000", "\x1b[31m"]]
    assert print_table(["name", Column("size", right=True), "key"], rows) == 2
    assert capsys.readouterr().out == "name   size  key\n模型      7  a\\nb\nx     1,000  \\x1b[31m\n"
    assert print_table(["name"], []) == 0 and capsys.readouterr().out == ""


def test_a_long_table_is_printed_as_it_comes(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    seen_at_the_end = []

    def rows():
        for number in range(5000):
            yield [str(number)]
        seen_at_the_end.append(len(out.getvalue().splitlines()))

    assert print_table(["n"], rows()) == 5000
    assert seen_at_the_end[0] == 5001  # all were out before the last was asked for


@dataclass(frozen=True)
class Value:
    path: Path
    priority: Priority
    left_s: float


def test_json_takes_values_as_they_are(capsys):
    value = Value(Path("a/b"), Priority.QUEUED, math.inf)
    assert as_json({"v": value, "t": (1, True, None, "\x1b")}) == {
        "v": {"path": "a/b", "priority": "queued", "left_s": None},
        "t": [1, True, None, "\x1b"],
    }
    with pytest.raises(TypeError):
        as_json(object())
    print_json_rows({"key": "\x1b\u202e", "n": n} for n in range(3))
    text = capsys.readouterr().out
    assert text.isascii() and "\x1b" not in text
    assert [row["n"] for row in json.loads(text)] == [0, 1, 2]
    print_json_rows([])
    assert json.loads(capsys.readouterr().out) == []


def test_figures_for_people():
    assert [size_text(n) for n in (0, 999, 1000, 6_938_041_050)] == ["0 B", "999 B", "1 kB", "6.94 GB"]
    assert [duration_text(s) for s in (0.0032, 4.1, 119, 720, 5 * 3600 + 1200, 7200, 259200)] == [
        "3.2 ms",
        "4.1 s",
        "119 s",
        "12 min",
        "5 h 20 min",
        "2 h",
        "3 days",
    ]
    assert time_text(0) == time_text(None) == time_text(math.inf) == time_text(1e300) == "-"
    assert time_text(1_700_000_000) == "2023-11-14 22:13"


def test_a_terminal_that_is_no_utf8_shows_escapes(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ended = modelstream("warm", str(tmp_path / "模型.toml"), "--comfyui", str(tmp_path), env=environment)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
