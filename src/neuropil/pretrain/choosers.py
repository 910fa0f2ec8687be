"""Who decides which patches are hidden: a fixed policy, or a predictor of difficulty; agents are in `decision_mim`.

A chooser is asked before the encoder sees a crop, and told afterwards what each hidden patch cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from neuropil.config import Config
from neuropil.geometry import Float3, Int3
from neuropil.pretrain.health import edge_correlation
from neuropil.pretrain.masking import Mask, MaskContext, budget
from neuropil.pretrain.ratio import RatioController
from neuropil.pretrain.state import load_optimiser_state, optimiser_state
from neuropil.registry import MASKS


@dataclass(frozen=True)
class View:
    """A batch of crops as choosers see it.

    Attributes
    ----------
    step
        Steps taken so far.
    image_BCZYX
        Grey values 0..1.
    grid, patch, voxel_size
        Patches along z, y, x; voxels of a patch; nm of a voxel.
    mean_BN, variance_BN, edges_BN
        Of each patch.
    generator
        Source of all chance of this step.
    """

    step: int
    image_BCZYX: Tensor
    grid: Int3
    patch: Int3
    voxel_size: Float3
    mean_BN: Tensor
    variance_BN: Tensor
    edges_BN: Tensor
    generator: torch.Generator

    @property
    def statistics_BNS(self) -> Tensor:
        """Mean, standard deviation and edge density of each patch."""
        return torch.stack([self.mean_BN, self.variance_BN.sqrt(), self.edges_BN], dim=-1)

    def some(self, crops_B: Tensor) -> View:
        """Some of the crops."""
        parts = {name: getattr(self, name)[crops_B] for name in ("image_BCZYX", "mean_BN", "variance_BN", "edges_BN")}
        return replace(self, **parts)


@contextmanager
def learning(module: nn.Module) -> Iterator[None]:
    """Let a chooser's own network learn here and nowhere else; several processes then go on with the mean of theirs.

    At rest its weights ask for no gradient: the engine waits for the gradients of all weights that do. Each process
    learns from what it saw itself, so weights differ by an update before they are averaged.
    """
    module.requires_grad_(requires_grad=True)
    try:
        yield
    finally:
        module.requires_grad_(requires_grad=False)
    if torch.distributed.is_initialized():
        for parameter in module.parameters():
            torch.distributed.all_reduce(parameter.data)
            parameter.data /= torch.distributed.get_world_size()


class Teacher(Protocol):
    """A slow copy of what is trained."""

    def features(self, view: View) -> Tensor:
        """(B, N, D) of every patch; no gradient."""

    def places(self, view: View) -> Tensor:
        """(N, E) codes of the patches' places."""

    def losses(self, view: View, mask: Mask) -> tuple[Tensor, Tensor]:
        """(B, M) of the hidden patches, as the slow copy answers, and a slower one; no gradient."""


class Chooser(nn.Module):
    """Hides patches by a fixed policy of the table MASKS; the base of those that learn.

    Attributes
    ----------
    needs_teacher, needs_progress
        Whether a slow copy of the network must be kept for it, and a slower one beside it.
    """

    needs_teacher = False
    needs_progress = False

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._mask = config.pretrain.mask
        self._policy = MASKS.resolve(self._mask.policy)
        self._controller = RatioController(config.pretrain.ratio, self._mask.ratio) if self._mask.adapt_ratio else None
        self._numbers: dict[str, float] = {}

    @property
    def ratio(self) -> float:
        """Share of patches to hide now."""
        return self._mask.ratio if self._controller is None else self._controller.ratio

    def choose(self, view: View, teacher: Teacher | None) -> Mask:
        """Which patches of each crop to hide."""
        count = budget(view.edges_BN.shape[1], self.ratio)
        context = MaskContext(view.grid, view.patch, view.edges_BN)
        mask: Mask = self._policy(context, count, view.generator, self._mask)
        return mask

    def preview(self, view: View, teacher: Teacher | None) -> Mask:
        """What `choose` would hide, without taking note of it: looking at a run must not change it."""
        return self.choose(view, teacher)

    def learn(self, view: View, mask: Mask, losses_BM: Tensor, teacher: Teacher | None) -> None:
        """Take note of what the hidden patches cost."""
        self._numbers["mask_edges"] = edge_correlation(mask.masked_BM, view.edges_BN)
        if self._controller is not None:
            self._numbers["mask_ratio"] = self.ratio
            self._numbers |= {f"ratio_share_{ratio:g}": share for ratio, share in self._controller.shares().items()}

    def after_update(self, step: int, total: int) -> dict[str, float]:
        """Learn, if there is something to learn; numbers to log."""
        return self._numbers

    def warnings(self) -> tuple[str, ...]:
        """What whoever reads of the run must know: none here."""
        return ()

    def judge(self, score: float) -> None:
        """Choose the next mask ratio by a downstream score (higher is better), if it is to be chosen."""
        if self._controller is not None:
            self._controller.observe(score)

    def state(self) -> dict[str, Any]:
        """Nested dictionary of tensors and plain values, beside parameters."""
        ratio = {} if self._controller is None else {"ratio": self._controller.state_dict()}
        return {"numbers": dict(self._numbers), **ratio}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        # earlier versions did not store what was last logged
        self._numbers = dict(state.get("numbers", {}))
        if self._controller is not None:
            self._controller.load_state_dict(state["ratio"])


class RankedChooser(Chooser):
    """Hides the patches whose loss is predicted to be highest: hard patches without agents.

    The predictor is a small network on the teacher's features, taught by the losses themselves (after Wang et al. 2023,
    arXiv 2304.05919).
    """

    needs_teacher = True

    def __init__(self, config: Config, features: int) -> None:
        super().__init__(config)
        agents = config.pretrain.agents
        self.predictor = nn.Sequential(
            nn.LayerNorm(features + 3), nn.Linear(features + 3, agents.width), nn.GELU(), nn.Linear(agents.width, 1)
        )
        self._optimiser = torch.optim.Adam(self.predictor.parameters(), lr=agents.lr)
        self.predictor.requires_grad_(requires_grad=False)
        self._known: Tensor | None = None
        self._lesson: tuple[Tensor, Tensor, Tensor] | None = None

    def choose(self, view: View, teacher: Teacher | None) -> Mask:
        """The patches of highest predicted loss, and a random share."""
        mask, self._known = self._ranked(view, teacher)
        return mask

    def preview(self, view: View, teacher: Teacher | None) -> Mask:
        """See `Chooser.preview`."""
        return self._ranked(view, teacher)[0]

    def _ranked(self, view: View, teacher: Teacher | None) -> tuple[Mask, Tensor]:
        """A mask, and what the predictor knew."""
        assert teacher is not None
        known = torch.cat([teacher.features(view).float(), view.statistics_BNS], dim=-1).detach()
        with torch.no_grad(), torch.autocast(known.device.type, enabled=False):
            difficulty_BN = self.predictor(known).squeeze(-1)
        count = budget(view.edges_BN.shape[1], self.ratio)
        context = MaskContext(view.grid, view.patch, view.edges_BN, difficulty_BN=difficulty_BN)
        mask: Mask = self._policy(context, count, view.generator, self._mask)
        return mask, known

    def learn(self, view: View, mask: Mask, losses_BM: Tensor, teacher: Teacher | None) -> None:
        """Keep what the predictor should have said: the logarithm of the loss."""
        super().learn(view, mask, losses_BM, teacher)
        assert self._known is not None
        self._lesson = (self._known, mask.masked_BM, losses_BM.clamp(min=1e-6).log())

    def after_update(self, step: int, total: int) -> dict[str, float]:
        """One step of the predictor."""
        if self._lesson is not None:
            known_BND, masked_BM, target_BM = self._lesson
            with learning(self.predictor), torch.autocast(known_BND.device.type, enabled=False):
                said_BM = self.predictor(known_BND).squeeze(-1).gather(1, masked_BM)
                error = (said_BM - target_BM).square().mean()
                self._optimiser.zero_grad(set_to_none=True)
                error.backward()
                self._optimiser.step()
            self._numbers["predictor_error"] = float(error.detach())
            self._lesson = None
        return self._numbers

    def state(self) -> dict[str, Any]:
        """What the optimiser remembers."""
        return super().state() | {"moments": optimiser_state(self._optimiser)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        super().load_state(state)
        load_optimiser_state(self._optimiser, state["moments"])
