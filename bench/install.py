"""What installing and starting costs: seconds of import, MB of each dependency, seconds of a fresh install.

    python bench/install.py [--repeats 5] [--out docs/results/install.json]
    python bench/install.py --fresh            # also makes an environment and installs the base into it: needs an index
    python bench/install.py min                # writes constraints-min.txt from the bounds of pyproject.toml

Goals (issue 7): the base, without PyTorch and what that brings, below 60 s and 400 MB. Sizes are those of the files
that each package lists. PyTorch is installed first, from constraints.txt, and is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from runs import ROOT, machine

STARTS = {
    "import neuropil": ["-c", "import neuropil"],
    "python": ["-c", "pass"],
    "neuropil --help": ["-c", "from neuropil.cli import main; main(['--help'])"],
}
PROJECT = ROOT / "pyproject.toml"


def asked(lines: list[str]) -> list[Requirement]:
    """Requirements that count here, without extras."""
    found = [Requirement(line) for line in lines]
    return [one for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]


def tree(names: list[str]) -> set[str]:
    """These packages and all that they bring."""
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in seen:
            seen.add(name)
            todo += [one.name for one in asked(metadata.requires(name) or [])]
    return seen


def base() -> list[Requirement]:
    """What pyproject.toml asks for."""
    return asked(tomllib.loads(PROJECT.read_text())["project"]["dependencies"])


def size_mb(name: str) -> float:
    """MB of the files that a package lists, compiled Python left out: that is made later."""
    files = [path.locate() for path in metadata.files(name) or [] if path.suffix != ".pyc"]
    return sum(Path(path).stat().st_size for path in files if Path(path).is_file()) / 1e6


def started(arguments: list[str], repeats: int) -> dict[str, float]:
    """Seconds of processor and clock of a Python with these arguments: the median, and the best clock."""
    clock, processor = [], []
    for _ in range(repeats):
        before, since = _children(), time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())
        clock.append(time.perf_counter() - since)
        processor.append(_children() - before)
    return {
        "processor_s": round(statistics.median(processor), 3),
        "clock_s": round(statistics.median(clock), 3),
        "best_clock_s": round(min(clock), 3),
    }


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sizes() -> dict[str, Any]:
    """MB of each package of the base that PyTorch does not bring, largest first."""
    beyond = sorted(tree([one.name for one in base()]) - tree(["torch"]))
    each = {name: round(size_mb(name), 1) for name in beyond}
    return {
        "beyond_torch_MB": round(sum(each.values()), 1),
        "packages": len(each),
        "each_MB": dict(sorted(each.items(), key=lambda item: -item[1])),
        "torch_MB": round(sum(size_mb(name) for name in tree(["torch"])), 1),
    }


def download_mb() -> float:
    """MB of the wheels of the base that PyTorch does not bring, in the versions that are installed here."""
    wanted = [f"{name}=={metadata.version(name)}" for name in tree([one.name for one in base()]) - tree(["torch"])]
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "-d", folder]
        subprocess.run([*pip, *wanted], check=True)
        return round(sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6, 1)


def fresh() -> dict[str, Any]:
    """Seconds to install the base into an environment that already has PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, "torch"], check=True)
        # from a copy, because a build leaves its work beside the sources
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        since, before = time.perf_counter(), _children()
        subprocess.run([*pip, str(copy)], check=True)
        seconds, processor = time.perf_counter() - since, _children() - before
        subprocess.run([f"{folder}/bin/neuropil", "--help"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    load = round(os.getloadavg()[0], 1)
    return {"base_install": {"clock_s": round(seconds, 1), "processor_s": round(processor, 1), "load": load}}


def lowest() -> str:
    """The text of constraints-min.txt."""
    lines = [
        "# The lowest versions that pyproject.toml allows, for `make test-min`; made by `python bench/install.py min`."
    ]
    lines += [f"{canonicalize_name(one.name)}=={next(iter(one.specifier)).version}" for one in base()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["measure", "min"], default="measure")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "install.json")
    given = parser.parse_args()
    if given.what == "min":
        (ROOT / "constraints-min.txt").write_text(lowest())
        return
    found: dict[str, Any] = {name: started(words, given.repeats) for name, words in STARTS.items()}
    found |= {"load": round(os.getloadavg()[0], 1), "sizes": sizes(), "machine": machine()}
    if given.fresh:
        found |= {**fresh(), "download_MB": download_mb()}
    elif given.out.is_file():
        # a fresh install takes minutes and an index; what was measured last stays
        kept = json.loads(given.out.read_text())
        found |= {key: kept[key] for key in ("base_install", "download_MB") if key in kept}
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
