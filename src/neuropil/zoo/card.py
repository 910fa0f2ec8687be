"""The card of a shared model: what a stranger must know, as JSON for programs and as a page for people."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from neuropil.errors import InputError, RunError
from neuropil.tasks.base import OF_OLD, task_named
from neuropil.training.checkpoint import Run
from neuropil.zoo.clean import named_only

FORMAT = 1
#: What tasks find whose name is not what they find.
_FOUND = {"semantic": "one kind of structure, as a mask", "trees": "neurites"}


@dataclass(frozen=True)
class Said:
    """What only its maker can say of a model.

    Parameters
    ----------
    data_licence
        Terms of the data that it was trained on.
    data
        Where these data can be had.
    licence
        Terms of the weights.
    authors
        Names.
    cite
        What to cite.
    """

    data_licence: str
    data: str | None
    licence: str | None
    authors: tuple[str, ...]
    cite: str | None


def require_licence(text: str | None) -> str:
    """The licence of the training data.

    Raises
    ------
    InputError
        If it was not said: what others may do with the weights depends on it.
    """
    if text is None or not text.strip():
        raise InputError(
            "no licence of the training data",
            "the terms of the data that the run was trained on",
            "--data-licence 'CC BY 4.0', for example (neuropil download lists those of public sets)",
        )
    return text.strip()


def facts(run: Run, name: str, said: Said, *, seeds: Sequence[Run], speed: dict[str, Any] | None) -> dict[str, Any]:
    """Everything that a card says, as plain values.

    Parameters
    ----------
    seeds
        Other runs of the same training, with other seeds: how far its scores spread.
    speed
        What `neuropil.zoo.speed.measured` found, or None for what predicts nothing.

    Raises
    ------
    RunError
        If the run is not finished, or a run among `seeds` is another training.
    """
    if run.card.get("status") != "complete" or "best" not in run.card:
        raise RunError(
            f"'{run.path}' is {run.card.get('status')}", "a finished run", f"neuropil train --resume --out {run.path}"
        )
    card, config = named_only(run.card, run.config.model_dump(mode="json"))
    encoder = card.get("kind") == "encoder"
    return {
        "format": FORMAT,
        "name": name,
        "kind": "encoder" if encoder else "network",
        "task": None if encoder else run.task,
        "voxel_size_nm": card["voxel_size"],
        "channels": [] if encoder else [channel.name for channel in run.channels],
        "offsets": card.get("offsets", []),
        "network": config["model"]["name"],
        "encoder": config["model"]["encoder"],
        "parameters": card["parameters"],
        "normalise": config["data"]["normalise"],
        "data": {
            "volumes": [source["image"] for source in card["sources"]],
            "licence": said.data_licence,
            "where": said.data,
        },
        "licence": said.licence,
        "authors": list(said.authors),
        "cite": said.cite,
        "scores": _scores(run, seeds),
        "speed": speed,
        "cost": _cost(run, card),
        "seed": card["seed"],
        "created": card["created"],
        "versions": card["versions"],
        **({"warnings": card["warnings"]} if card.get("warnings") else {}),
    }


def _scores(run: Run, seeds: Sequence[Run]) -> dict[str, Any]:
    best = run.card["best"]
    names = _headline(run)
    found: dict[str, Any] = {"held_back": {name: best[name] for name in names}}
    if "decoding" in best:
        found["decoding"] = best["decoding"]
    if seeds:
        others = [_same_training(run, other) for other in seeds]
        drawn = [[r.card["best"][name] for name in names] for r in (run, *others)]
        found["spread"] = {"over": f"{len(drawn)} seeds", **_spread(names, drawn)}
        return found
    rows = run.rows("validation")
    late = [row for row in rows[len(rows) // 2 :] if all(name in row for name in names)]
    if len(late) > 1:
        drawn = [[row[name] for name in names] for row in late]
        found["spread"] = {"over": f"the last {len(late)} validations of one seed", **_spread(names, drawn)}
    return found


def _headline(run: Run) -> list[str]:
    best = run.card["best"]
    if run.card.get("kind") == "encoder":
        return [name for name, value in best.items() if name.startswith("masked_") and isinstance(value, float)]
    return [name for name in task_named(run.task).headline if isinstance(best.get(name), int | float)]


def _spread(names: Sequence[str], drawn: Sequence[Sequence[float]]) -> dict[str, Any]:
    columns = list(zip(*drawn, strict=True))
    return {
        name: {
            "mean": round(statistics.fmean(values), 5),
            "sd": round(statistics.stdev(values), 5),
            "least": min(values),
            "most": max(values),
        }
        for name, values in zip(names, columns, strict=True)
    }


def _same_training(run: Run, other: Run) -> Run:
    """The other run, which must differ from the first by its seed alone."""
    ours, theirs = (r.config.model_dump(mode="json") for r in (run, other))
    for values in (ours, theirs):
        values["train"].pop("seed")
    differ = [key for key in ours if ours[key] != theirs[key]]
    if run.card["sources"] != other.card["sources"]:
        differ.append("volumes")
    if run.card["seed"] == other.card["seed"]:
        differ.append("nothing: the seed is the same")
    if differ or "best" not in other.card:
        why = f"differs in {', '.join(differ)}" if differ else "is not finished"
        raise RunError(
            f"--seeds {other.path} {why}", f"a finished run that differs from '{run.path}' by train.seed alone"
        )
    return other


def _cost(run: Run, card: dict[str, Any]) -> dict[str, Any]:
    seconds = max((float(row.get("elapsed", 0)) for row in run.rows()), default=0.0)
    return {
        "train_minutes": round(seconds / 60, 2) if seconds else None,
        "steps": run.steps,
        "machine": card.get("machine"),
    }


def page(card: dict[str, Any], use: Iterable[str]) -> str:
    """The card as Markdown.

    Parameters
    ----------
    use
        Commands that use the model.
    """
    lines = [f"# {card['name']}", "", _summary(card), ""]
    lines += [f"- **{what}** {text}" for what, text in _lines(card)]
    lines += ["", "## Data and licences", ""]
    volumes, where = card["data"]["volumes"], card["data"]["where"]
    trained_on = ", ".join(f"`{v}`" for v in volumes)
    lines.append(f"- Trained on {trained_on}{f', from {where}' if where else ''}")
    lines.append(f"- **Licence of the data** {card['data']['licence']}")
    lines.append(f"- **Licence of the weights** {card['licence'] or 'not stated; that of the data permitting'}")
    lines += [f"- **By** {', '.join(card['authors'])}"] if card["authors"] else []
    lines += [f"- **Cite** {card['cite']}"] if card["cite"] else []
    lines += ["", "## Validation", "", *_score_lines(card), "", "## Use", "", "```", *use, "```", ""]
    return "\n".join(lines)


def _summary(card: dict[str, Any]) -> str:
    size = card["voxel_size_nm"]
    at = "voxels of any size" if size is None else " × ".join(f"{s:g}" for s in size) + " nm (z, y, x)"
    what = "An encoder for first weights" if card["kind"] == "encoder" else f"A network that finds {finds(card)}"
    return f"{what}, for volumes of {at}."


def finds(card: dict[str, Any]) -> str:
    """What a model is for, in a word or two."""
    if card["kind"] == "encoder":
        return "first weights"
    return _FOUND.get(card["task"], str(card["task"]))


def _lines(card: dict[str, Any]) -> list[tuple[str, str]]:
    speed, cost = card["speed"], card["cost"]
    made_of = card["network"] + (f" on {card['encoder']}" if card["encoder"] else "")
    found = [("Network", f"{made_of}, {card['parameters']:,} parameters")]
    if weights := card.get("weights"):
        found.append(("Weights", f"stored as {weights['stored_as']}, {weights['bytes'] / 1e6:.1f} MB"))
    if card["offsets"]:
        found.append(("Affinities", f"{card['offsets']} (v and v + step are one object; voxels z, y, x)"))
    elif card["channels"]:
        found.append(("Channels", ", ".join(card["channels"])))
    found.append(("Grey values", f"{card['normalise']} of the whole volume, to about 0..1"))
    if speed:
        found.append(
            ("Speed", f"{speed['voxels_per_second']:,} voxels/s on {speed['device']} in tiles of {speed['tile']}")
        )
    machine = cost["machine"] or {}
    on = f" on {machine['cores']} cores ({machine['processor']})" if machine else ""
    took = f"{cost['train_minutes']:g} minutes, " if cost["train_minutes"] else ""
    found += [("Warning", warning) for warning in card.get("warnings", ())]
    found.append(("Training", f"{took}{cost['steps']} steps{on}, seed {card['seed']}, {card['created']}"))
    return [*found, ("Made with", ", ".join(f"{name} {version}" for name, version in card["versions"].items()))]


def _score_lines(card: dict[str, Any]) -> list[str]:
    scores = card["scores"]
    held, spread = scores["held_back"], scores.get("spread", {})
    if not held:
        return ["None: it was scored on nothing."]
    intro = f"On what was held back of the training volumes; decoding {scores.get('decoding', OF_OLD)}"
    if card["kind"] == "encoder":
        intro = "Error on hidden patches of what was held back; on voxels, 1 is no answer at all"
    rows = ["| score | this model | mean ± sd |", "|---|---|---|"]
    for name, value in held.items():
        known = spread.get(name)
        told = f"{known['mean']:.4g} ± {known['sd']:.2g}" if known and math.isfinite(known["sd"]) else "not known"
        rows.append(f"| {name.replace('_', ' ')} | {value:.4g} | {told} |")
    return [f"{intro}. Spread: {spread.get('over', 'not known, of one validation')}.", "", *rows]
