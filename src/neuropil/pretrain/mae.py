"""Masked modelling: hide patches, answer for them, and be judged on the hidden ones only.

The base of masked autoencoders (He et al. 2022, arXiv 2111.06377) and of decision-based masked modelling
(arXiv 2310.04148), which differ in who chooses the patches.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from neuropil.config import AugmentConfig, Config
from neuropil.config.pretrain import TargetConfig
from neuropil.errors import RunError
from neuropil.geometry import Float3, Int3
from neuropil.pretrain.choosers import Chooser, RankedChooser, View
from neuropil.pretrain.masking import Mask
from neuropil.pretrain.networks import MaskedNetwork, build_masked
from neuropil.pretrain.state import flattened, nested
from neuropil.pretrain.targets import (
    Balance,
    edge_density,
    grid_of,
    hog,
    masked_loss,
    patch_moments,
    patches,
    standardised,
    taken,
)

if TYPE_CHECKING:
    from neuropil.pretrain.look import Look
    from neuropil.pretrain.validate import MaskedValidator

Batch = dict[str, Tensor]


def build(config: Config, voxel_size: Float3) -> MaskedModelling:
    """The masked autoencoder of a configuration, with fresh weights."""
    network = build_masked(config, voxel_size)
    ranked = config.pretrain.mask.policy == "loss_ranked"
    return MaskedModelling(network, RankedChooser(config, network.feature_dim) if ranked else Chooser(config), config)


class SlowCopy:
    """The teacher: a moving average of the network, which choosers may ask.

    Parameters
    ----------
    network
        Its first weights.
    config
        Decay, blocks to see through, and targets.
    """

    def __init__(self, network: MaskedNetwork, config: Config, *, progress: bool) -> None:
        self.network = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.slower = copy.deepcopy(self.network) if progress else None
        self._pretrain = config.pretrain

    @torch.no_grad()
    def follow(self, network: MaskedNetwork, step: int) -> None:
        """Move a little towards the network: every few steps, and then by as much as that many steps ask for."""
        agents = self._pretrain.agents
        if step % agents.rollout_every:
            return
        for copied, decay in ((self.network, agents.teacher_decay), (self.slower, agents.slower_decay)):
            if copied is not None:
                ours: list[Tensor] = list(copied.parameters())
                theirs: list[Tensor] = list(network.parameters())
                torch._foreach_lerp_(ours, theirs, 1 - decay**agents.rollout_every)

    @torch.no_grad()
    def features(self, view: View) -> Tensor:
        """(B, N, D) of every patch."""
        return self.network.features(view.image_BCZYX, view.voxel_size, self._pretrain.agents.teacher_blocks)

    @torch.no_grad()
    def places(self, view: View) -> Tensor:
        """(N, E) codes of the patches' places."""
        return self.network.places(view.grid, view.voxel_size)

    @torch.no_grad()
    def losses(self, view: View, mask: Mask) -> tuple[Tensor, Tensor]:
        """(B, M) errors on standardised voxels, as `Reconstruction.difficulty_BM`: its own, then the slower one's."""
        assert self.slower is not None
        target = targets_of(view.image_BCZYX, view.patch, self._pretrain.target, names=("voxels",))["voxels"]
        now, before = (
            masked_loss(copied.predict(view.image_BCZYX, mask, view.voxel_size)["voxels"], target, mask.masked_BM)
            for copied in (self.network, self.slower)
        )
        return now, before

    def state(self) -> dict[str, Any]:
        """Weights by name."""
        slower = {} if self.slower is None else {"slower": dict(self.slower.state_dict())}
        return {"network": dict(self.network.state_dict()), **slower}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave.

        Raises
        ------
        RunError
            If it is of a version that kept no slower copy, and one is needed.
        """
        if self.slower is not None and "slower" not in state:
            raise RunError(
                "a checkpoint of agents without the slower copy that their rewards come from (an earlier version's)",
                "one of this version",
                "begin the pretraining anew; what it has learned so far still serves as --init",
            )
        # before there was a slower copy, the one that there was had no name
        self.network.load_state_dict(state.get("network", state))
        if self.slower is not None:
            self.slower.load_state_dict(state["slower"])


class MaskedModelling(nn.Module):
    """An objective of the training loop; see `neuropil.training.objective.Objective`.

    Parameters
    ----------
    network
        What is pretrained.
    chooser
        Who hides patches.
    config
        Targets, their balance, and seeds.
    """

    def __init__(self, network: MaskedNetwork, chooser: Chooser, config: Config) -> None:
        super().__init__()
        self.kept = network
        self.chooser = chooser
        self._config, self._target = config, config.pretrain.target
        self._balance = Balance(self._target.balance_decay)
        self._teacher = SlowCopy(network, config, progress=chooser.needs_progress) if chooser.needs_teacher else None
        self._step = 0
        self._numbers: dict[str, float] = {}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch with image (B, 1, Z, Y, X), voxel_size (B, 3) in nm, and index (B,)."""
        view = view_of(batch, self.kept.patch, self._target, (self._config.train.seed, self._step))
        mask = self.chooser.choose(view, self._teacher)
        answers = self.kept.predict(view.image_BCZYX, mask, view.voxel_size)
        with torch.autocast(view.image_BCZYX.device.type, enabled=False):
            losses = reconstruction_losses(answers, view.image_BCZYX, self.kept.patch, mask, self._target)
            self._balance.observe(_over_processes(losses))
            weights = {"voxels": self._target.voxels, "hog": self._target.hog}
            each_BM = self._balance.combined(losses, weights)
            if self._target.edge > 0:
                each_BM = each_BM * (1 + self._target.edge * taken(view.edges_BN, mask.masked_BM))
            self._numbers = {f"loss_{name}": float(loss.detach().mean()) for name, loss in losses.items()}
            # choosers are told the error on voxels: its size means the same all through a run
            self.chooser.learn(view, mask, losses["voxels"].detach(), self._teacher)
            return {"network": each_BM.mean()}

    def views(self) -> dict[str, AugmentConfig]:
        """None: what is hidden of a crop is hidden by the chooser."""
        return {}

    def validator(self, crops: Sequence[Batch], probe: Sequence[Batch]) -> MaskedValidator:
        """Scores on held-back crops and, where there are any, on labelled ones."""
        # both rooms beside this one look at what is defined here
        from neuropil.pretrain.look import hidden_shares
        from neuropil.pretrain.validate import MaskedValidator

        masks = partial(hidden_shares, self, crops[0], self._config)
        return MaskedValidator(crops, probe, self._config, masks)

    def look(self, crop: Batch) -> Look:
        """Pictures of a crop (a batch of one)."""
        from neuropil.pretrain.look import look

        return look(self, crop, self._config)

    @property
    def teacher(self) -> SlowCopy | None:
        """The slow copy, where the chooser needs one."""
        return self._teacher

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self._step

    def groups(self) -> dict[str, nn.Module]:
        """The network; choosers that learn have optimisers of their own."""
        return {"network": self.kept}

    def after_update(self, step: int, total: int | None) -> dict[str, float]:
        """The teacher follows, the chooser learns."""
        self._step = step
        if self._teacher is not None:
            self._teacher.follow(self.kept, step)
        return self._numbers | self.chooser.after_update(step, total or self._config.train.steps)

    def judged(self, result: Mapping[str, Any]) -> None:
        """Hand the downstream probe of a validation to the chooser."""
        if result.get("probe") is not None:
            self.chooser.judge(float(result["probe"]))

    def warnings(self) -> tuple[str, ...]:
        """What the chooser has given up."""
        return self.chooser.warnings()

    def exported(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of `kept` by the names that networks know them by."""
        return self.kept.exported(tensors)

    def to(self, *arguments: Any, **words: Any) -> MaskedModelling:
        """As of `nn.Module`; the teacher comes along."""
        moved: MaskedModelling = super().to(*arguments, **words)
        if self._teacher is not None:
            self._teacher.network.to(*arguments, **words)
            if self._teacher.slower is not None:
                self._teacher.slower.to(*arguments, **words)
        return moved

    def extra_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Step, balance, the chooser's state and the teacher."""
        teacher = {} if self._teacher is None else self._teacher.state()
        state = {
            "step": self._step,
            "balance": self._balance.state_dict(),
            "chooser": self.chooser.state(),
            "teacher": teacher,
        }
        return flattened(state)

    def load_extra_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take back what `extra_state` gave."""
        state = nested(tensors, values)
        self._step = int(state["step"])
        self._balance.load_state_dict(state["balance"])
        self.chooser.load_state(state["chooser"])
        if self._teacher is not None:
            self._teacher.load_state(state["teacher"])


def view_of(batch: Mapping[str, Tensor], patch: Int3, target: TargetConfig, seed: tuple[int, int]) -> View:
    """What choosers see of a batch; `seed` is the run's, and the step."""
    image = batch["image"].float()
    z, y, x = (int(n) for n in image.shape[2:])
    mean_BN, variance_BN = patch_moments(patches(image, patch))
    size_z, size_y, size_x = (float(s) for s in batch["voxel_size"][0])
    generator = torch.Generator().manual_seed(seed[0] * 1_000_003 + int(batch["index"][0]) + 1)
    return View(
        step=seed[1],
        image_BCZYX=image,
        grid=grid_of((z, y, x), patch),
        patch=patch,
        voxel_size=(size_z, size_y, size_x),
        mean_BN=mean_BN,
        variance_BN=variance_BN,
        edges_BN=edge_density(image, patch, target),
        generator=generator,
    )


def targets_of(image_BCZYX: Tensor, patch: Int3, config: TargetConfig, names: tuple[str, ...]) -> dict[str, Tensor]:
    """What is asked for in every patch, (B, N, ·), by name."""
    found = {"voxels": standardised(patches(image_BCZYX, patch), config.variance_floor)}
    if "hog" in names:
        found["hog"] = hog(image_BCZYX, patch, config)
    return {name: found[name] for name in names}


def reconstruction_losses(
    answers: Mapping[str, Tensor], image_BCZYX: Tensor, patch: Int3, mask: Mask, config: TargetConfig
) -> dict[str, Tensor]:
    """Error of each hidden patch (B, M), fp32, by the name of the target."""
    target = targets_of(image_BCZYX, patch, config, tuple(answers))
    return {name: masked_loss(answer, target[name], mask.masked_BM) for name, answer in answers.items()}


def _over_processes(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Means over all processes, so that each of them balances alike."""
    means = {name: loss.detach().mean() for name, loss in losses.items()}
    if torch.distributed.is_initialized():
        for mean in means.values():
            torch.distributed.all_reduce(mean)
            mean /= torch.distributed.get_world_size()
    return means
