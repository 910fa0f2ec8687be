"""Pictures of a run show what its chooser prefers at the end of the run, not at its beginning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neuropil.config import load_config
from neuropil.pretrain.look import hidden_shares, look
from neuropil.registry import PRETEXTS

SMALL = (
    "model.vit.dim=24",
    "model.vit.depth=2",
    "model.vit.heads=2",
    "model.vit.patch=[4,4,4]",
    "pretrain.decoder_dim=24",
    "pretrain.decoder_heads=2",
    "pretrain.agents.width=16",
    "train.steps=20",
)


def test_the_map_shows_the_preference_of_trained_agents() -> None:
    config = load_config("decision_mim", SMALL)
    torch.manual_seed(0)
    objective = PRETEXTS.resolve("decision_mim")(config, (8.0, 8.0, 8.0))
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    crop = {"image": image, "voxel_size": torch.full((1, 3), 8.0), "index": torch.tensor([0])}
    with torch.no_grad():
        objective.chooser.agents.actor.weight.normal_(generator=torch.Generator().manual_seed(1))
    spread = []
    for step in (0, 20):
        objective.after_update(step, 20)
        spread.append(float(np.std(look(objective, crop, config).often)))
    # at first every mask is random; 48 draws of that spread by sqrt(.75 * .25 / 48) = .06
    assert spread[0] < 0.1
    assert spread[1] > 1.5 * spread[0]


def noted(chooser: torch.nn.Module) -> str:
    return repr((chooser.state(), chooser.after_update(0, 20), chooser.__dict__.get("_known")))


#: A floor that no choice reaches, and little patience: were it told, the watchdog would give the agents up.
IMPATIENT = ("pretrain.agents.entropy_floor=0.999999", "pretrain.agents.patience=4")


@pytest.mark.parametrize(
    ("recipe", "words"), [("decision_mim", IMPATIENT), ("mae", ("pretrain.mask.policy=loss_ranked",))]
)
def test_looking_leaves_no_trace_in_the_run(
    recipe: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(recipe, (*SMALL, *words))
    torch.manual_seed(0)
    objective = PRETEXTS.resolve(recipe)(config, (8.0, 8.0, 8.0))
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    crop = {"image": image, "voxel_size": torch.full((1, 3), 8.0), "index": torch.tensor([0])}
    before = noted(objective.chooser)
    hidden_shares(objective, crop, config)
    look(objective, crop, config)
    assert noted(objective.chooser) == before
    assert "warning" not in capsys.readouterr().err


def test_shares_of_a_record_are_those_of_random_masks_at_first() -> None:
    config = load_config("mae", SMALL)
    objective = PRETEXTS.resolve("mae")(config, (8.0, 8.0, 8.0))
    image = torch.rand(1, 1, 16, 24, 32, generator=torch.Generator().manual_seed(0))
    crop = {"image": image, "voxel_size": torch.full((1, 3), 8.0), "index": torch.tensor([0])}
    before = torch.get_rng_state()
    shares = np.asarray(hidden_shares(objective, crop, config))
    assert torch.equal(before, torch.get_rng_state())  # training goes on as if nobody had looked
    assert shares.shape == (6, 8)
    assert abs(shares.mean() - 0.75) < 0.05
    assert shares.std() < 0.15
