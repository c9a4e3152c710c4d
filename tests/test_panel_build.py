"""web/modelstream.js is what the sources make, and nothing that a page could be harmed with is in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rig.panel_build import BUNDLE, build, installed_as_locked, run_node, why_not

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "web" / "src").glob("*.ts"))
LOCALES = ("de", "en", "es", "fr", "ja", "ko", "ru", "zh")
needs_node = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

HTML_FROM_TEXT = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|unsafeHTML|unsafeSVG|srcdoc|createContextualFragment|DOMParser"


def leaves(tree: dict, path: str = "") -> dict[str, str]:
    found = {}
    for key, value in tree.items():
        found.update(leaves(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value})
    return found


def strings(language: str) -> dict[str, str]:
    return leaves(json.loads((ROOT / "locales" / language / "main.json").read_text("utf-8"))["modelStream"])


@needs_node
def test_the_committed_panel_is_what_its_sources_make(tmp_path):
    assert installed_as_locked() == []
    fresh = tmp_path / "modelstream.js"
    assert build(fresh) == ""
    assert fresh.read_text("utf-8") == BUNDLE.read_text("utf-8"), "web/modelstream.js is not built from web/src as it is: npm run build"


@needs_node
def test_the_types_of_the_panel_hold():
    done = run_node("node_modules/typescript/bin/tsc", "--noEmit", "-p", "web/src")
    assert done.returncode == 0, done.stdout


def test_comfyui_finds_one_script_and_the_sources_make_no_other():
    assert [path.relative_to(ROOT).as_posix() for path in (ROOT / "web").rglob("*.js")] == ["web/modelstream.js"]


def test_no_source_makes_html_from_text():
    """Lit makes its own static templates with innerHTML, once; no value ever gets there (see the test with Trusted Types)."""
    found = [f"{path.name}: {line}" for path in SOURCES for line in path.read_text("utf-8").splitlines() if re.search(HTML_FROM_TEXT, line)]
    assert found == []
    in_bundle = [line.strip() for line in BUNDLE.read_text("utf-8").splitlines() if re.search(HTML_FROM_TEXT, line)]
    assert len(in_bundle) == 1 and re.fullmatch(r"return \w+\.innerHTML = \w+, \w+;", in_bundle[0]), in_bundle


def test_the_lockfile_names_no_registry_and_has_a_digest_of_every_package():
    text = (ROOT / "package-lock.json").read_text("utf-8")
    assert "http" not in re.sub(r'"(url|funding)": "[^"]*"', "", text)
    packages = json.loads(text)["packages"]
    assert all("integrity" in package for place, package in packages.items() if place)


def test_every_text_that_the_sources_ask_for_exists_in_english():
    english = strings("en")
    asked = set()
    for path in SOURCES:
        asked |= set(re.findall(r"""(?:this\.t|this\.n|texts\.get|texts\.count)\(\s*"([\w.]+)\"""", path.read_text("utf-8")))
    assert len(asked) > 80
    missing = [key for key in asked if key not in english and f"{key}.other" not in english]
    assert missing == []


@pytest.mark.parametrize("language", LOCALES)
def test_every_language_has_every_text_with_the_same_values(language):
    def values(text: str) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", text))

    english, other = strings("en"), strings(language)
    plural = re.compile(r"\.(zero|one|two|few|many|other)$")
    assert {plural.sub("", key) for key in other} == {plural.sub("", key) for key in english}
    for key, text in other.items():
        forms = [values(original) for name, original in english.items() if plural.sub("", name) == plural.sub("", key)]
        always, ever = set.intersection(*forms) - {"n"}, set.union(*forms)
        assert always <= values(text) <= ever | {"n"}, f"{language} {key}: {text}"


def test_every_setting_and_command_has_its_name_in_every_language():
    main = (ROOT / "web" / "src" / "main.ts").read_text("utf-8")
    ids = set(re.findall(r'id: "(ModelStream\.\w+)"', main))
    assert len(ids) == 6
    for language in LOCALES:
        folder = ROOT / "locales" / language
        named = {**json.loads((folder / "settings.json").read_text("utf-8")), **json.loads((folder / "commands.json").read_text("utf-8"))}
        assert set(named) == {one.replace(".", "_") for one in ids}


def test_every_node_has_a_sign():
    signs = set(re.findall(r"^  (ModelStream\w+): \"", (ROOT / "web" / "src" / "node-icons.ts").read_text("utf-8"), re.M))
    assert signs == {place.name for place in (ROOT / "web" / "docs").iterdir() if place.is_dir()}
