"""Choose, pack and list the models that come with neuropil: src/neuropil/zoo/models, docs/results/models.md.

    NEUROPIL_DATA=... python bench/ship.py em-neurons-fib25 RUN RUN RUN      # the same training with several seeds
    python bench/ship.py em-encoder-fib25 RUN RUN RUN
    python bench/ship.py table

The run with the best score on what it held back of its own training volumes is taken, never by a test volume, and takes
the place of the model of that name. Weights are stored in half precision; where there is a test volume, it is
segmented with the weights of the run and with the stored ones, and both scores are kept in docs/results/models.json.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mitochondria
import neurons
from neuropil import api
from neuropil.tasks.base import task_named
from neuropil.training.checkpoint import Run
from neuropil.volume import Volume
from neuropil.zoo.package import FILES, card_of
from neuropil.zoo.store import shipped
from runs import ROOT, keep, kept, numbers

RESULTS = ROOT / "docs" / "results"
#: MB that the files of one model may have.
LARGEST = 16.0


@dataclass(frozen=True)
class Terms:
    """What a card says that no run knows, and the volume with its truth that a model is tried on."""

    data_licence: str
    data: str
    cite: str
    test: Callable[[], tuple[Volume, Volume]] | None
    tried_on: str = ""
    licence: str = "CC BY 4.0"


FIB25_LICENCE = "CC BY text of FlyEM (Janelia); credit Takemura et al. 2015"
FIB25 = "FIB-25, fly medulla: https://github.com/janelia-flyem/neuroproof_examples"
TAKEMURA = (
    "Takemura et al., Synaptic circuits and their variations within different columns in the visual system of "
    "Drosophila, PNAS 112:13711, 2015"
)
LUCCHI = "Lucchi et al., Learning structured models for segmentation of 2-D and 3-D imagery, IEEE TMI 34:1096, 2015"
MODELS = {
    "em-neurons-fib25": Terms(
        FIB25_LICENCE, FIB25, TAKEMURA, lambda: neurons.fib25().test, "the developer volume of FIB-25"
    ),
    "em-encoder-fib25": Terms(FIB25_LICENCE, FIB25, TAKEMURA, None),
    "em-mitochondria-epfl": Terms(
        "for research; cite Lucchi et al.",
        "EPFL, mouse hippocampus: https://www.epfl.ch/labs/cvlab/data/data-em/",
        LUCCHI,
        lambda: mitochondria.epfl().test,
        "three sections of EPFL",
        "for research, as its data",
    ),
}


def best(runs: list[Run]) -> Run:
    """The run that did best on what it held back; of "score", lower is better."""
    return min(runs, key=lambda run: float(run.card["best"]["score"]))


def packed(name: str, runs: list[Run], models: Path) -> Path:
    """The folder of a new model, in the place of the old one of that name."""
    terms, chosen = MODELS[name], best(runs)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / name
        api.share(
            chosen,
            made,
            data_licence=terms.data_licence,
            data=terms.data,
            licence=terms.licence,
            author=["neuropil"],
            cite=terms.cite,
            seeds=[run for run in runs if run is not chosen],
            half_precision=True,
        )
        if size_mb(made) > LARGEST:
            raise SystemExit(f"'{name}' has {size_mb(made):.1f} MB, more than {LARGEST:g}; train a smaller network")
        shutil.rmtree(models / name, ignore_errors=True)
        shutil.copytree(made, models / name)
    return models / name


def size_mb(folder: Path) -> float:
    """MB of a model."""
    return sum((folder / file).stat().st_size for file in FILES) / 1e6


def tried(chosen: Run, stored: Run, test: tuple[Volume, Volume]) -> dict[str, Any]:
    """Scores on a test volume with the weights of the run, and with those that were stored."""
    image, truth = test
    found = {}
    for what, run in (("run", chosen), ("stored", stored)):
        scores = api.evaluate(api.segment(run, image), truth, task=run.task)
        found[what] = numbers(scores, task_named(run.task).headline)
    return found


def table(models: Path, results: Path) -> str:
    """The page of the models that are there."""
    found = kept(results / "models.json")
    lines = [
        "# Models that come with neuropil: `python bench/ship.py table`",
        "",
        "Weights are stored in half precision. Held-back scores (in brackets mean ± sd, over what the card says) are",
        "of slabs of the training volumes, on which weights, threshold and seed were chosen too. Test volumes were",
        "only scored, with the stored weights and with the full ones. The cards are in `src/neuropil/zoo/models`.",
        "",
        "| model | voxels (nm) | MB | on what was held back | on a test volume | the same, full precision |",
        "|---|---|---|---|---|---|",
    ]
    for folder in sorted(path for path in models.iterdir() if path.is_dir()):
        card, on_test = card_of(folder), found.get(folder.name, {})
        at = " × ".join(f"{s:g}" for s in card["voxel_size_nm"])
        cells = [f"`zoo:{folder.name}`", at, f"{size_mb(folder):.1f}", _held_back(card["scores"])]
        cells += [_told(on_test.get("stored", {})), _told(on_test.get("run", {}))]
        lines.append("| " + " | ".join(cells) + " |")
    tried_on = "; ".join(f"`{n}`, {t.tried_on}" for n, t in MODELS.items() if n in found and t.tried_on)
    lines += ["", f"Test volumes: {tried_on}."]
    lines += ["", "```", *(found[name]["command"] for name in MODELS if name in found), "```", ""]
    return "\n".join(lines)


def _held_back(scores: dict[str, Any]) -> str:
    spread = scores.get("spread", {})
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.3g}"
        + (f" ({spread[name]['mean']:.3g} ± {spread[name]['sd']:.2g})" if name in spread else "")
        for name, value in scores["held_back"].items()
    )


def _told(scores: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items()) or "none"


def ship(name: str, runs: list[Run], models: Path, results: Path) -> None:
    """Pack the best of the runs, try it, and keep the scores."""
    stored, chosen, test = Run.open(packed(name, runs, models)), best(runs), MODELS[name].test
    command = f"python bench/ship.py {name} " + " ".join(run.path.name for run in runs)
    scores = tried(chosen, stored, test()) if test else {}
    keep({**kept(results), name: {"command": command, "chosen": chosen.path.name, **scores}}, results)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*MODELS, "table"])
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--models", type=Path, default=shipped())
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    if asked.name != "table":
        if not asked.runs:
            parser.error("name the runs to choose from")
        ship(asked.name, [Run.open(path) for path in asked.runs], asked.models, asked.results / "models.json")
    page = table(asked.models, asked.results)
    (asked.results / "models.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
