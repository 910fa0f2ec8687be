"""What mkdocs asks of us while it builds the site: the pages of the code are made from its docstrings, in memory.

Called by `make docs` through `hooks` of mkdocs.yml. One page has the verbs and the public names, and each room of
src/neuropil has one with its modules, so that a new module needs no line anywhere.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SRC = Path(__file__).parents[1] / "src"


def modules() -> dict[str, list[str]]:
    """Modules of each room, by name; a file of the first level is a room of its own."""
    rooms: dict[str, list[str]] = {}
    for path in sorted((SRC / "neuropil").rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if len(parts) > 2 or parts[-1] != "__init__":
            rooms.setdefault(parts[1], []).append(name)
    return rooms


def verbs() -> list[str]:
    """The names of `neuropil.api`, read and not imported."""
    for node in ast.parse((SRC / "neuropil" / "api" / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    raise LookupError("neuropil.api states no verbs")


def pages() -> dict[str, str]:
    """Path of each page of the code below reference/ → its text."""
    text = "".join(f"::: neuropil.api.{name}\n\n" for name in verbs())
    lead = "What the command line does, as functions of the same names and words; import them from `neuropil.api`."
    made = {"python.md": f"# The verbs in Python\n\n{lead}\n\n{text}"}
    for room, names in modules().items():
        text = "".join(f"::: {name}\n\n" for name in names)
        made[f"code/{room}.md"] = f"# {room}\n\n{text}"
    return made


def on_config(config: Any) -> Any:
    """Put the pages of the code under Reference."""
    made = pages()
    reference = next(section["Reference"] for section in config.nav if "Reference" in section)
    reference.append({"The verbs in Python": "reference/python.md"})
    reference.append({"The rooms": [f"reference/{path}" for path in made if path.startswith("code/")]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the code."""
    for path, text in pages().items():
        files.append(File.generated(config, f"reference/{path}", content=text))
    return files
