"""What every entry of the table of pretexts promises, as the training loop and a report meet it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from neuropil import open_volume, train
from neuropil.config import DataConfig, load_config
from neuropil.data.batches import collate
from neuropil.data.normalise import fit_normaliser
from neuropil.data.unlabelled import RawSampler, prepare_raw
from neuropil.registry import PRETEXTS
from neuropil.training.checkpoint import CHECKPOINT, WEIGHTS, Run, read_tensors
from neuropil.training.pretrain import fit_pretext, looks

SMALL = (
    "data.crop=[16,16,16]",
    "model.norm=standardised",
    "model.vit.dim=24",
    "model.vit.depth=2",
    "model.vit.heads=2",
    "model.vit.decoder=[8,8,16]",
    "model.channels=[8,8,16]",
    "pretrain.decoder_dim=24",
    "pretrain.decoder_heads=2",
    "pretrain.crops=2",
    "pretrain.agents.width=16",
    "pretrain.agents.buffer=4",
    "pretrain.agents.rollout_every=2",
    "pretrain.multiscale.dim=16",
    "pretrain.multiscale.grid=[2,4,4]",
    "train.batch=2",
    "train.lr=0.003",
    "train.log_every=1",
    "train.validations=2",
    "train.precision=fp32",
    "train.threads=1",
)
NETWORKS = ("resunet", "unetr")
both = pytest.mark.parametrize("name", NETWORKS)
each = pytest.mark.parametrize("method", PRETEXTS)


def _words(method: str, name: str, steps: int) -> list[str]:
    return [*SMALL, f"pretrain.method={method}", f"model.name={name}", f"train.steps={steps}"]


def _objective(method: str, name: str, steps: int) -> Any:
    torch.manual_seed(0)
    return PRETEXTS.resolve(method)(load_config(method, _words(method, name, steps)), (8.0, 8.0, 8.0))


def _sampler(h5: Path, objective: Any) -> RawSampler:
    image = open_volume(f"{h5}:raw")
    config = DataConfig()
    sources = prepare_raw(
        [image], config, regions=[image.box], normalisers=[fit_normaliser(image, config)], weights=None
    )
    return RawSampler(sources, (16, 16, 16), config, 0, batch=2, views=objective.views())


@both
@each
def test_the_loss_is_finite_and_falls_on_one_repeated_batch(phantom_h5: Path, method: str, name: str) -> None:
    objective = _objective(method, name, 16)
    sampler = _sampler(phantom_h5, objective)
    batch = collate([(i, sampler(i)) for i in range(2)])
    (group,) = objective.groups().values()
    optimiser = torch.optim.Adam([p for p in group.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for step in range(16):
        torch.manual_seed(step)
        found = objective(batch)
        loss = torch.stack(list(found.values())).sum()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        objective.after_update(step + 1, 16)
        losses.append(float(loss.detach()))
    assert all(torch.isfinite(torch.tensor(losses)))
    assert sum(losses[-4:]) < sum(losses[:4])


@both
@each
def test_groups_share_no_parameters_and_all_of_them_learn(phantom_h5: Path, method: str, name: str) -> None:
    objective = _objective(method, name, 4)
    sampler = _sampler(phantom_h5, objective)
    losses = objective(collate([(i, sampler(i)) for i in range(2)]))
    assert set(losses) == set(objective.groups())
    torch.stack(list(losses.values())).sum().backward()
    seen: set[int] = set()
    for group in objective.groups().values():
        wanted = {id(p): p for p in group.parameters() if p.requires_grad}
        assert not seen & set(wanted)
        seen |= set(wanted)
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in wanted.values())
    assert all(p.grad is None for p in objective.parameters() if id(p) not in seen)


@each
def test_resumed_equals_unbroken(
    phantom_h5: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [open_volume(f"{phantom_h5}:raw")]
    config = load_config(method, _words(method, "resunet", 6))
    whole = fit_pretext(images, config, tmp_path / "whole", probe=[], resume=False)
    calls = iter([False] * 2 + [True] + [False] * 100)
    monkeypatch.setattr("neuropil.training.loop._any_process", lambda fabric, *, wanted: next(calls))
    with pytest.raises(KeyboardInterrupt):
        fit_pretext(images, config, tmp_path / "parts", probe=[], resume=False)
    resumed = fit_pretext(images, Run.open(tmp_path / "parts").config, tmp_path / "parts", probe=[], resume=True)
    one, other = (read_tensors(run.path / CHECKPOINT)[0] for run in (whole, resumed))
    assert set(one) == set(other)
    assert [n for n in one if not torch.equal(one[n], other[n])] == []


@both
@each
def test_a_network_takes_the_encoder_whole_and_a_report_has_pictures(
    phantom_h5: Path, tmp_path: Path, method: str, name: str
) -> None:
    config = load_config(method, _words(method, name, 2))
    run = fit_pretext([open_volume(f"{phantom_h5}:raw")], config, tmp_path / "p", probe=[], resume=False)
    words = [w for w in SMALL if not w.startswith("pretrain")] + ["data.validation=0.3", f"model.name={name}"]
    tuned = train([f"{phantom_h5}:raw"], [f"{phantom_h5}:labels"], tmp_path / "t", steps=1, init=run.path, set=words)
    account = tuned.card["init"]["account"]
    assert account["share"] == 1
    assert account["matched"] > 0
    stored = read_tensors(run.path / WEIGHTS)[0]
    assert stored
    (seen,) = looks(run, 2)[:1]
    assert len(seen.pictures) >= 3
    assert all(picture.shape == (16, 16) for _, picture in seen.pictures)
    assert seen.lead


@each
def test_looking_and_validating_change_nothing(phantom_h5: Path, method: str) -> None:
    objective = _objective(method, "resunet", 4)
    sampler = _sampler(phantom_h5, objective)
    crops = [collate([(i, sampler(i))]) for i in range(2)]
    before, beside = copy.deepcopy(objective.state_dict()), repr(objective.extra_state())
    scored = objective.validator(crops, [])(objective.kept)
    assert {"score", "calibration", "crops"} <= set(scored)
    objective.look(crops[0])
    assert all(torch.equal(before[n], t) for n, t in objective.state_dict().items())
    assert repr(objective.extra_state()) == beside
