"""Masked modelling as an objective: what it is judged on, what learns from what, and resuming it bit by bit."""

from __future__ import annotations

import copy

import pytest
import torch

from neuropil.config import load_config
from neuropil.errors import RunError
from neuropil.pretrain.decision_mim import AgentChooser
from neuropil.pretrain.mae import MaskedModelling, SlowCopy, view_of
from neuropil.pretrain.masking import split
from neuropil.registry import PRETEXTS

SMALL = (
    "model.vit.dim=24",
    "model.vit.depth=2",
    "model.vit.heads=2",
    "model.vit.patch=[4,4,4]",
    "model.channels=[8,16]",
    "pretrain.patch=[4,4,4]",
    "pretrain.decoder_dim=24",
    "pretrain.decoder_depth=1",
    "pretrain.decoder_heads=2",
    "pretrain.agents.width=16",
    "pretrain.agents.buffer=4",
    "pretrain.agents.rollout_every=2",
    "pretrain.target.cell=4",
)
METHODS = [
    ("mae", "unetr", "random"),
    ("mae", "resunet", "random"),
    ("mae", "unetr", "loss_ranked"),
    ("mae", "resunet", "loss_ranked"),
    ("decision_mim", "unetr", "random"),
    ("decision_mim", "resunet", "random"),
]


def _objective(method: str, name: str, policy: str = "random", *words: str) -> MaskedModelling:
    settings = [*SMALL, f"model.name={name}", f"pretrain.mask.policy={policy}", "train.steps=20", *words]
    config = load_config(method, settings)
    torch.manual_seed(0)
    made: MaskedModelling = PRETEXTS.resolve(method)(config, (8.0, 8.0, 8.0))
    return made


def _batch(step: int = 0, crops: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    image = torch.rand(crops, 1, 16, 16, 16, generator=generator)
    image = torch.nn.functional.avg_pool3d(image, 3, 1, 1)
    size = torch.full((crops, 3), 8.0)
    return {"image": image, "voxel_size": size, "index": torch.arange(crops) + step * crops}


def _train(objective: MaskedModelling, first: int, last: int, optimiser: torch.optim.Optimizer) -> list[float]:
    losses = []
    for step in range(first, last):
        torch.manual_seed(step)
        loss = objective(_batch(step))["network"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        objective.after_update(step + 1, 20)
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize(("method", "name", "policy"), METHODS)
def test_loss_is_finite_and_falls_on_one_repeated_batch(method: str, name: str, policy: str) -> None:
    objective = _objective(method, name, policy, "pretrain.target.balance_decay=0.0")
    optimiser = torch.optim.Adam(objective.kept.parameters(), lr=5e-3)
    errors = []
    for step in range(40):
        objective(_batch(0))["network"].backward()
        optimiser.step()
        optimiser.zero_grad()
        errors.append(objective.after_update(step + 1, 40)["loss_voxels"])
    assert all(torch.isfinite(torch.tensor(errors)))
    assert sum(errors[-5:]) < 0.95 * sum(errors[:5])


@pytest.mark.parametrize(("method", "name", "policy"), METHODS)
def test_the_loss_reaches_the_network_and_nothing_else(method: str, name: str, policy: str) -> None:
    objective = _objective(method, name, policy)
    objective(_batch())["network"].backward()
    without = [n for n, p in objective.kept.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert all(p.grad is None for p in objective.chooser.parameters())


def test_agents_learn_from_rewards_alone_and_leave_the_network_as_it_is() -> None:
    objective = _objective("decision_mim", "unetr")
    network = copy.deepcopy(objective.kept.state_dict())
    agents = copy.deepcopy(objective.chooser.state_dict())
    # with epsilon at its end, most crops are the agents' own
    objective.after_update(20, 20)
    for step in range(8):
        objective._step = 2 * step
        with torch.no_grad():
            objective(_batch(step))
    numbers = objective.chooser.after_update(20, 20)
    assert "ppo_ratio_std" in numbers
    assert numbers["ppo_ratio_start"] == 0
    assert numbers["ppo_ratio_std"] > 0
    assert all(torch.equal(network[n], t) for n, t in objective.kept.state_dict().items())
    assert any(not torch.equal(agents[n], t) for n, t in objective.chooser.state_dict().items())


@pytest.mark.parametrize(("method", "name", "policy"), METHODS)
def test_resumed_equals_unbroken(method: str, name: str, policy: str) -> None:
    # two updates in the run: it is interrupted with a buffer that is half full
    words = ("pretrain.agents.updates=2", "pretrain.agents.buffer=8")
    whole = _objective(method, name, policy, *words)
    unbroken = _train(whole, 0, 12, torch.optim.SGD(whole.kept.parameters(), lr=0.05))
    first = _objective(method, name, policy, *words)
    start = _train(first, 0, 5, torch.optim.SGD(first.kept.parameters(), lr=0.05))
    tensors, values = first.extra_state()
    second = _objective(method, name, policy, *words)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.load_extra_state({n: t.clone() for n, t in tensors.items()}, copy.deepcopy(values))
    rest = _train(second, 5, 12, torch.optim.SGD(second.kept.parameters(), lr=0.05))
    assert start + rest == unbroken
    assert second.chooser._numbers == whole.chooser._numbers
    if isinstance(first.chooser, AgentChooser):
        assert 0 < first.chooser._update.held < first.chooser._enough == 8


@pytest.mark.parametrize(("policy", "method"), [("loss_ranked", "mae"), ("random", "decision_mim")])
def test_checkpoints_of_an_earlier_version_are_taken_or_refused(method: str, policy: str) -> None:
    objective = _objective(method, "unetr", policy)
    tensors, values = objective.extra_state()
    # there was one slow copy, and it had no name
    old = {n.replace("teacher.network.", "teacher."): t for n, t in tensors.items() if "teacher.slower" not in n}
    values["teacher"] = {}
    if method == "mae":
        objective.load_extra_state(old, values)
    else:
        with pytest.raises(RunError, match="earlier version"):
            objective.load_extra_state(old, values)


def test_only_hidden_patches_are_judged() -> None:
    """Where an answer for a visible patch would go, nothing can change the loss: only hidden ones are answered for."""
    objective = _objective("mae", "resunet")
    batch = _batch(crops=1)
    view = view_of(batch, (4, 4, 4), objective._target, (0, 0))
    mask = split(torch.tensor([[0, 5, 9]]), 64)
    answers = objective.kept.predict(view.image_BCZYX, mask, view.voxel_size)
    assert answers["voxels"].shape == (1, 3, 64)
    assert answers["hog"].shape == (1, 3, 4 * 9)


def test_a_hidden_patch_cannot_be_seen() -> None:
    """Changing the grey values of a hidden patch changes no answer, in either kind of network."""
    for name in ("unetr", "resunet"):
        network = _objective("mae", name).kept.eval()
        image = _batch(crops=1)["image"]
        mask = split(torch.tensor([[3, 17, 40]]), 64)
        changed = image.clone()
        changed[..., 0:4, 0:4, 12:16] += 1.0  # patch 3
        before, after = (network.predict(x, mask, (8.0, 8.0, 8.0)) for x in (image, changed))
        assert all(torch.equal(before[n], after[n]) for n in before), name
        changed[..., 0:4, 0:4, 0:4] += 1.0  # patch 0 is visible
        after = network.predict(changed, mask, (8.0, 8.0, 8.0))
        assert not torch.equal(before["voxels"], after["voxels"]), name


def test_a_tripped_watchdog_makes_masks_random_loudly(capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"pretrain.agents.{word}" for word in ("patience=2", "updates=1", "epsilon_start=0.0", "epsilon_end=0.0")]
    objective = _objective("decision_mim", "unetr", "random", *words)
    assert isinstance(objective.chooser, AgentChooser)
    with torch.no_grad():
        objective.chooser.agents.actor.weight.fill_(500.0)
        objective.chooser.agents.actor.weight[0, ::2] *= -1
    for step in range(4):
        objective(_batch(step))
        numbers = objective.after_update(step + 1, 20)
    assert "warning: masks are random from step 1 on" in capsys.readouterr().err
    assert numbers["agents_tripped"] == 1
    # what was true of the agents before is not logged as if it still were
    assert not {name for name in numbers if name.startswith(("ppo_", "agents_"))} - {"agents_tripped"}
    assert objective.chooser._watchdog.tripped
    assert objective.warnings() == (objective.chooser._watchdog.reason,)
    tensors, values = objective.extra_state()
    again = _objective("decision_mim", "unetr", "random", *words)
    assert again.warnings() == ()
    again.load_extra_state(tensors, values)
    assert again.warnings() == objective.warnings()
    again(_batch(5))
    assert again.after_update(6, 20)["agents_tripped"] == 1


def test_agents_that_another_process_gave_up_are_given_up_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update is taken together: a process that went on alone would wait for ever."""
    objective = _objective("decision_mim", "unetr")
    objective(_batch())
    assert isinstance(objective.chooser, AgentChooser)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.add_(1))
    assert objective.chooser.after_update(1, 20)["agents_tripped"] == 1
    assert "another process" in objective.warnings()[0]


def test_shuffled_agents_hide_as_many_but_elsewhere() -> None:
    plain, shuffled = (
        _objective(
            "decision_mim", "unetr", "random", "pretrain.agents.epsilon_start=0.0", f"pretrain.shuffle_agents={s}"
        )
        for s in ("false", "true")
    )
    batch = _batch()
    masks = []
    for objective in (plain, shuffled):
        with torch.no_grad():
            objective.chooser.agents.actor.weight.normal_(generator=torch.Generator().manual_seed(0))
        view = view_of(batch, (4, 4, 4), objective._target, (0, 1))
        masks.append(objective.chooser.choose(view, objective._teacher))
    assert masks[0].masked_BM.shape == masks[1].masked_BM.shape
    assert not torch.equal(masks[0].masked_BM, masks[1].masked_BM)


def test_a_network_that_bounces_has_not_learned() -> None:
    """Progress is the difference of two slow copies: a step to and fro hardly moves it, but moves the network's own loss."""
    objective = _objective("decision_mim", "unetr")
    teacher, view = objective.teacher, view_of(_batch(), (4, 4, 4), objective._target, (0, 1))
    assert teacher is not None
    mask = split(torch.arange(48).expand(2, -1), 64)
    generator = torch.Generator().manual_seed(0)
    steps = [0.05 * torch.randn(p.shape, generator=generator) for p in objective.kept.parameters()]
    with torch.no_grad():
        for turn in range(40):
            for parameter, step in zip(objective.kept.parameters(), steps, strict=True):
                parameter += step if turn % 2 == 0 else -step
            teacher.follow(objective.kept, 2 * turn)
        for parameter, step in zip(objective.kept.parameters(), steps, strict=True):
            parameter += step
        now_BM, before_BM = teacher.losses(view, mask)
        bounced = SlowCopy(objective.kept, objective._config, progress=True).losses(view, mask)[0] - now_BM
    assert float((before_BM - now_BM).abs().mean()) < 0.3 * float(bounced.abs().mean())


def test_agents_of_crops_that_are_masked_at_random_are_not_asked() -> None:
    """What is drawn is what it would be had all been asked; in steps that agents learn from, all are."""
    objective = _objective("decision_mim", "unetr", "random", "pretrain.agents.epsilon_start=0.5")
    chooser, teacher = objective.chooser, objective.teacher
    assert isinstance(chooser, AgentChooser)
    assert teacher is not None
    with torch.no_grad():
        chooser.agents.actor.weight.normal_(generator=torch.Generator().manual_seed(0))
    asked, crops = [], 8
    features = teacher.features
    teacher.features = lambda view: asked.append(len(view.edges_BN)) or features(view)  # type: ignore[assignment,func-returns-value]
    for step in range(5):
        view = view_of(_batch(crops=crops), (4, 4, 4), objective._target, (0, step))
        mask = chooser.choose(view, teacher)
        again = view_of(_batch(crops=crops), (4, 4, 4), objective._target, (0, step))
        assert torch.equal(mask.masked_BM, chooser.preview(again, teacher).masked_BM)
    chosen, previewed = asked[::2], asked[1::2]
    assert previewed == [crops] * 5
    assert chosen[0] == chosen[4] == crops
    assert 0 < sum(chosen[1:4]) < 3 * crops
