"""What the pages name exists: verbs, their options, settings, tests; and every page is in the site's contents."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml
from pydantic import BaseModel

from neuropil.cli import app
from neuropil.config import Config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: Made from the code, and tested to be current (tests/arch/test_docs.py).
MADE = {DOCS / "reference" / "commands.md", DOCS / "reference" / "settings.md"}
PAGES = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")} - MADE)
VERBS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def _settings(model: type[BaseModel], prefix: str = "") -> set[str]:
    keys = set()
    for name, field in model.model_fields.items():
        keys.add(f"{prefix}{name}")
        if isinstance(field.default, BaseModel):
            keys |= _settings(type(field.default), f"{prefix}{name}.")
    return keys


SETTINGS = _settings(Config)
#: Endings by which a name is that of a file.
FILES = (".", ".h5", ".md", ".py", ".safetensors", ".yaml", ".zarr")
GROUPS = {name for name, field in Config.model_fields.items() if isinstance(field.default, BaseModel)}


def commands(text: str) -> list[str]:
    """Every command of ours in code: lines of blocks, and spans within sentences."""
    text = re.sub(r"\\\n\s*", "", text)  # a command may go on in the next line
    fenced = "\n".join(re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```", text))
    lines = re.findall(r"(?m)^ *(neuropil [^\n]+)$", fenced) + re.findall(r"(?m)^    (neuropil [^\n]+)$", text)
    spans = re.findall(r"`(neuropil [^`]+)`", text)
    return [" ".join(found.split()) for found in lines + spans]


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars="&;|")
    lexer.whitespace_split = True
    found = []
    for word in lexer:
        if word in ("&", ";", "|", "&&", "||"):
            break
        found.append(word)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_those_of_the_program(page: Path) -> None:
    for command in commands(page.read_text()):
        _, *words = _words(command)
        if not words or words[0].startswith(("-", "…")):
            continue
        assert words[0] in VERBS, command
        options = {name for parameter in VERBS[words[0]].params for name in parameter.opts}
        unknown = {word for word in words if word.startswith("--") and word.split("=")[0] not in options | {"--help"}}
        assert unknown == set(), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_exist(page: Path) -> None:
    text = page.read_text()
    if page.parent.name == "coming_from":  # the first column has the words of others
        text = re.sub(r"(?m)^\| .*? \| ", "", text)
    named = re.findall(r"--set[ =]['\"]?([a-z0-9_.]+)=", text)
    # a span that looks like a setting of a group, with or without a value
    spans = re.findall(r"`([a-z]+\.[a-z0-9_.]+)(?:=[^`]*)?`", text)
    named += [span for span in spans if span.split(".")[0] in GROUPS and not span.endswith(FILES)]
    assert {name for name in named if name not in SETTINGS} == set()


def _tests(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_are_named_exist(page: Path) -> None:
    for path, name in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", page.read_text()):
        assert (ROOT / path).is_file(), path
        assert not name or name in _tests(ROOT / path), f"{path}::{name}"


def _rows(text: str) -> list[list[str]]:
    """Cells of the table's rows, without head and rule."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:2] == "| "][
        1:
    ]


def test_every_yes_of_ours_is_shown_by_a_test_or_a_command() -> None:
    rows = _rows((DOCS / "rivals.md").read_text())
    assert len(rows) == 34
    for feature, _, ours, shown in rows:
        assert ours.strip() in {"Y", "p", "-", "BSD-3-Clause"}, feature
        if ours.strip() == "Y":
            assert re.search(r"tests/[\w/]+\.py::\w+", shown), feature


def test_every_row_of_the_survey_is_answered() -> None:
    survey = ROOT.parent / "shared" / "design" / "rivals.md"
    if not survey.is_file():
        pytest.skip("the survey of other toolkits does not lie beside the project")
    table = survey.read_text().split("## 2. Feature table")[1].split("**What none")[0]
    asked = [row[0] for row in _rows(table)]
    assert [row[0] for row in _rows((DOCS / "rivals.md").read_text())] == asked


class _Loader(yaml.SafeLoader):
    """YAML with names of Python things in it, which are left alone."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def _leaves(tree: Any) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    return [leaf for part in (tree.values() if isinstance(tree, dict) else tree) for leaf in _leaves(part)]


def test_every_page_is_in_the_contents_of_the_site() -> None:
    contents = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=_Loader)["nav"]
    listed = _leaves(contents)
    assert len(listed) == len(set(listed))
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert there - set(listed) == set(), "add the page to nav in mkdocs.yml"
    assert set(listed) - there == set(), "nav in mkdocs.yml names pages that do not exist"
