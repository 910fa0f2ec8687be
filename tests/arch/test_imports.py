"""Imports point down; the whole package stays small; nothing heavy is imported early."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "neuropil"
FILES = sorted(SRC.rglob("*.py"))

#: Room or file → what it may import of ours. Deferred and type-only imports count too.
CORE = {
    "errors",
    "geometry",
    "lazy",
    "volume",
    "affinities",
    "skeleton",
    "config",
    "registry",
    "progress",
    "plan",
    "versions",
    "urls",
    "remote",
    "smoothing",
    "shards",
    "notebook",
    "locks",
}
MAY = {
    "errors": set(),
    "geometry": {"errors"},
    "remote": {"errors"},
    "lazy": {"errors", "geometry", "remote", "volume"},
    "registry": {"errors"},
    "config": {"errors"},
    "progress": set(),
    "versions": set(),
    "smoothing": set(),
    "conversions": set(),
    "shards": {"errors"},
    "locks": {"errors"},
    "urls": {"errors", "geometry"},
    "notebook": {"geometry", "volume"},
    "volume": {"conversions", "errors", "geometry", "lazy", "notebook", "registry", "remote", "urls"},
    "affinities": {"errors", "geometry", "notebook", "volume"},
    "skeleton": {"errors", "geometry", "volume"},
    "plan": {"affinities", "config", "geometry"},
    "synth": {"errors", "geometry", "skeleton"},
    "io": CORE,
    "models": CORE,
    "post": CORE,
    "tracing": CORE,
    "metrics": CORE,
    "data": CORE | {"io"},
    "infer": CORE | {"io"},
    "report": CORE | {"io", "metrics"},
    "view": CORE | {"io", "post", "metrics", "report"},
    "pretrain": CORE | {"models", "data"},
    "tasks": CORE | {"data", "post", "metrics"},
    # a run is validated by the segmentation score, so training stands above prediction, decoding and scoring
    "training": CORE | {"models", "data", "pretrain", "infer", "post", "metrics", "tasks"},
    "download": CORE | {"io"},
    "auto": CORE | {"io", "data", "infer", "models", "tasks"},
    "preview": CORE | {"auto", "infer", "post", "tasks", "training", "decoding", "jobs"},
    "doctor": CORE | {"infer"},
    "treedoctor": CORE | {"io"},
    "outputs": CORE | {"io", "training"},
    "decoding": CORE | {"data", "infer", "models", "training", "outputs", "tasks"},
    "jobs": CORE | {"io", "infer", "post", "tasks", "training", "outputs", "decoding"},
    "studies": CORE | {"tasks", "training"},
    "pages": CORE | {"report", "studies", "training", "zoo"},
    "zoo": CORE | {"io", "download", "models", "infer", "tasks", "training"},
    "exchange": CORE | {"io", "data", "models", "synth", "tasks", "training", "zoo"},
    "inputs": CORE | {"training", "tasks", "zoo", "exchange"},
    "api": CORE
    | {
        "io",
        "models",
        "post",
        "tracing",
        "metrics",
        "data",
        "infer",
        "report",
        "training",
        "download",
        "exchange",
        "zoo",
        "doctor",
        "treedoctor",
        "demo",
        "outputs",
        "pages",
        "view",
        "decoding",
        "inputs",
        "studies",
        "tasks",
        "jobs",
        "auto",
        "preview",
    },
    "demo": CORE | {"api", "io", "report", "synth"},
    "cli": {"api", "errors", "geometry"},
    "__main__": {"cli"},
    "__init__": CORE | {"api", "training"},
}
#: Rooms that must not import torch, even indirectly.
WITHOUT_TORCH = ("io", "post", "tracing", "metrics", "report", "synth", *CORE)


def _room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "neuropil":
                found |= {f"neuropil.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_down(path: Path) -> None:
    room = _room(path)
    ours = {name.split(".")[1] for name in _imports(path) if name.startswith("neuropil.")}
    assert ours - MAY[room] - {room} == set(), f"{room} may not import these"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_torch_stays_in_its_rooms(path: Path) -> None:
    if _room(path) in WITHOUT_TORCH:
        assert not {name for name in _imports(path) if name.split(".")[0] in ("torch", "lightning_fabric")}


def test_only_one_file_knows_the_training_engine() -> None:
    users = {str(p.relative_to(SRC)) for p in FILES if "lightning_fabric" in p.read_text()}
    assert (
        {"training/engine.py"}
        <= users
        <= {"training/engine.py", "training/loop.py", "training/fit.py", "training/pretrain.py"}
    )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if not _is_command(node):
                assert lines <= 60, f"{node.name} has {lines} lines"
                assert len(node.args.args) <= 8, f"{node.name} has {len(node.args.args)} positional arguments"


def _is_command(node: ast.FunctionDef) -> bool:
    """Functions whose length is the documentation of their options."""
    return any(a.annotation is not None and ast.unparse(a.annotation) == "Json" for a in node.args.args)


def test_import_is_quick_and_without_torch() -> None:
    code = (
        "import sys, neuropil; sys.exit(any(m in sys.modules for m in ('torch', 'numba', 'tensorstore', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_does_not_import_torch() -> None:
    code = "import sys, neuropil.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_predicting_does_not_import_the_training_engine() -> None:
    code = (
        "import sys, neuropil.api, neuropil.infer.settings, neuropil.training.checkpoint, neuropil.models;"
        "sys.exit('lightning_fabric' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_resolve_and_are_the_promised_ones() -> None:
    import neuropil

    promised = {"open_volume", "Volume", "Box", "train", "predict", "segment", "evaluate"}
    assert promised <= set(neuropil.__all__)
    import neuropil.training.fit  # importing rooms must not put modules in the place of verbs

    assert all(getattr(neuropil, name) is not None for name in neuropil.__all__)
    assert all(callable(getattr(neuropil, name)) for name in promised)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        neuropil.nothing  # noqa: B018


def test_commands_are_the_verbs_of_the_api_with_the_same_words() -> None:
    import inspect

    from neuropil import api, cli

    commands = {c.callback.__name__: c.callback for c in cli.app.registered_commands if c.callback}
    assert set(commands) == set(api.__all__)
    for name, command in commands.items():
        words = {w.rstrip("_") for w in inspect.signature(command).parameters} - {"json"}
        assert words == set(inspect.signature(getattr(api, name)).parameters), name
