"""The model card: what a stranger must know before using a run."""

from __future__ import annotations

from shlex import quote

from neuropil.config import load_config
from neuropil.tasks.base import task_named
from neuropil.training.checkpoint import Run
from neuropil.training.encoders import encoder_words

#: What `neuropil train` begins from unless it is told another.
_RECIPE = "em_neurons"


def model_card(run: Run) -> str:
    """Markdown that says what was trained on what, how well it did on what was held back, and how to use it."""
    if "inflation" in run.card:
        return _inflated_card(run)
    return _encoder_card(run) if run.card.get("kind") == "encoder" else _network_card(run)


def _inflated_card(run: Run) -> str:
    card, config = run.card, run.config
    found = card["inflation"]
    lines = [
        f"# {run.path.name}: an encoder inflated from a 2-D {found['family']} model",
        "",
        f"- **Encoder** {config.model.encoder}, {_sizes(run)}; kernels spread: {config.inflate.depth}",
        f"- **From** `{card['sources'][0]['image']}`, sha256 {card['sources'][0]['sha256']}",
        f"- **Made** {card['created']}, neuropil {card['versions']['neuropil']}",
        "- **Licence** of these weights: that of the file; of some families it is not free",
        "",
        "## What became of its tensors",
        "",
        f"{len(found['copied'])} copied, {len(found['dropped'])} dropped, {len(found['missing'])} missing.",
        "",
        *(f"- `{name}`: {what}" for name, what in {**found["changed"], **found["new"]}.items()),
        "",
        "## Use",
        "",
        "Grey values are 0..1; `train` takes network, encoder and sizes over from here.",
        "",
        "```",
        train_command(run),
        "```",
        "",
    ]
    return "\n".join(lines)


def _sizes(run: Run) -> str:
    """Of an inflated encoder."""
    model = run.config.model
    if model.encoder == "convnext":
        own = model.convnext
        return f"channels {list(own.dims)}, blocks {list(own.depths)}; sections put together {list(own.fold or ())}"
    return f"width {model.vit.dim}, {model.vit.depth} blocks; patches of {run.card['patch']} voxels"


def use_command(run: Run, name: str | None = None) -> str:
    """The command that a run is made for, under a name; that of its folder if left out."""
    if run.card.get("kind") == "encoder":
        return train_command(run, name)
    return f"neuropil segment {quote(name or run.path.name)} VOLUME --out seg.zarr"


def train_command(run: Run, init: str | None = None) -> str:
    """The command that trains on from an encoder, with the settings that its weights hang on.

    Parameters
    ----------
    init
        What the encoder is called there; the name of its folder if left out.
    """
    voxel_size = run.voxel_size if run.card["voxel_size"] else None
    words = encoder_words(run, load_config(_RECIPE, []).model, voxel_size)
    command = f"neuropil train --image IMAGE --labels LABELS --out runs/new --init {quote(init or run.path.name)}"
    return command + "".join(f" --set {quote(word)}" for word in words)


def _warned(run: Run) -> list[str]:
    return [f"- **Warning** {warning}" for warning in run.card.get("warnings", [])]


def _encoder_card(run: Run) -> str:
    card, config = run.card, run.config
    best = card["best"]
    z, y, x = run.voxel_size
    measured = {k: v for k, v in best.items() if k.startswith("masked_") or k == "probe"}
    lines = [
        f"# {run.path.name}: an encoder, by {config.pretrain.method}",
        "",
        f"- **Encoder** of {config.model.name}; patches of {card['patch']} voxels; masks: "
        f"{'agents' if config.pretrain.method == 'decision_mim' else config.pretrain.mask.policy}, "
        f"{config.pretrain.mask.ratio:.0%} hidden",
        f"- **Voxel size** {z:g} × {y:g} × {x:g} nm (z, y, x)",
        f"- **Pretrained** {card['created']}, seed {card['seed']}, {run.steps} steps, "
        f"neuropil {card['versions']['neuropil']}; no labels were used",
        *_warned(run),
        "- **Licence** of these weights: that of the data permitting, the trainer's to choose",
        "",
        "## Data",
        "",
        *(f"- `{s['image']}`, held back {s['held_back']}" for s in card["sources"]),
        "",
        "## Held-back error",
        "",
        "On hidden patches of other crops, under random masks (an error of 1 on voxels is no answer at all):",
        "",
        *(f"- {name}: {value}" for name, value in measured.items()),
        "",
        "## Use",
        "",
        "```",
        train_command(run),
        "```",
        "",
        "From the folder that holds this one; the settings are those that the encoder needs.",
        "",
    ]
    return "\n".join(lines)


def _network_card(run: Run) -> str:
    card, config = run.card, run.config
    z, y, x = run.voxel_size
    lines = [
        f"# {run.path.name}: {'affinities' if run.offsets else run.task} for {card['recipe']}",
        "",
        f"- **Network** {config.model.name}, channels {list(config.model.channels)}, {card['parameters']:,} parameters",
        f"- **Voxel size** {z:g} × {y:g} × {x:g} nm (z, y, x)",
        f"- **Affinities** {[list(o) for o in run.offsets]} (voxel steps z, y, x)"
        if run.offsets
        else f"- **Channels** {', '.join(channel.name for channel in run.channels)}",
        f"- **Trained** {card['created']}, seed {card['seed']}, {run.steps} steps, "
        f"neuropil {card['versions']['neuropil']}",
        *_warned(run),
        "- **Licence** of these weights: that of the training data permitting, the trainer's to choose",
        "",
        "## Data",
        "",
        *(f"- `{s['image']}` with `{s['labels']}`, held back {s['held_back']}" for s in card["sources"]),
        "",
        "## Held-back score",
        "",
        f"On the held-back slabs, at the decoding {run.decoding_from}:",
        "",
        *_scores(run),
        "",
        "## Use",
        "",
        "```",
        use_command(run),
        "```",
        "",
    ]
    return "\n".join(lines)


def _scores(run: Run) -> list[str]:
    """A table of the best scores, and of the values that were calibrated with them."""
    best = run.card["best"]
    chosen = {k: v for k, v in best["calibration"].items() if v not in (None, [])}
    shown = {**chosen, **{key: best[key] for key in task_named(run.task).headline}}
    names = [name.replace("_", " ") for name in shown]
    return [
        "| " + " | ".join(names) + " |",
        "|" + "---|" * len(names),
        "| " + " | ".join(str(value) for value in shown.values()) + " |",
    ]
