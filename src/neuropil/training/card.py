"""The model card: what a stranger must know before using a run."""

from __future__ import annotations

from neuropil.training.checkpoint import Run


def model_card(run: Run) -> str:
    """Markdown that says what was trained on what, how well it did on what was held back, and how to use it."""
    return _encoder_card(run) if run.card.get("kind") == "encoder" else _network_card(run)


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
        f"neuropil train --image IMAGE --labels LABELS --out runs/new --init {run.path.name} "
        f"--set model.name={config.model.name}",
        "```",
        "",
    ]
    return "\n".join(lines)


def _network_card(run: Run) -> str:
    card, config = run.card, run.config
    best = card["best"]
    z, y, x = run.voxel_size
    lines = [
        f"# {run.path.name}: affinities for {card['recipe']}",
        "",
        f"- **Network** {config.model.name}, channels {list(config.model.channels)}, {card['parameters']:,} parameters",
        f"- **Voxel size** {z:g} × {y:g} × {x:g} nm (z, y, x)",
        f"- **Affinities** {[list(o) for o in run.offsets]} (voxel steps z, y, x)",
        f"- **Trained** {card['created']}, seed {card['seed']}, {run.steps} steps, "
        f"neuropil {card['versions']['neuropil']}",
        "- **Licence** of these weights: that of the training data permitting, the trainer's to choose",
        "",
        "## Data",
        "",
        *(f"- `{s['image']}` with `{s['labels']}`, held back {s['held_back']}" for s in card["sources"]),
        "",
        "## Held-back score",
        "",
        "Mean over the held-back slabs at the calibrated decoding (threshold and biases were chosen there too):",
        "",
        "| threshold | VOI split | VOI merge | VOI sum | ARAND |",
        "|---|---|---|---|---|",
        f"| {best['threshold']} | {best['voi_split']} | {best['voi_merge']} | {best['voi_sum']} | {best['arand']} |",
        "",
        "## Use",
        "",
        "```",
        f"neuropil segment {run.path.name} VOLUME --out seg.zarr",
        "```",
        "",
    ]
    return "\n".join(lines)
