"""Test-time averaging: predict mirrored and rotated views of a tile, bring every edge back to its place, average.

A mirrored view turns an edge around: its prediction then sits at the other end and is re-anchored. At the face of the
tile that has no source for it, the view does not count there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from neuropil.affinities import Offsets, edge_slices, transformed_offset
from neuropil.errors import InputError
from neuropil.geometry import Float3, Int3

Mode = Literal["none", "flips", "full"]


@dataclass(frozen=True)
class View:
    """Mirror the flagged axes, then reorder the axes: axis i of the view is axis ``order[i]`` of the tile."""

    flips: tuple[bool, bool, bool]
    order: Int3

    def of(self, x_BCZYX: torch.Tensor) -> torch.Tensor:
        """The view of a batch."""
        flipped = x_BCZYX.flip([a + 2 for a, f in enumerate(self.flips) if f]) if any(self.flips) else x_BCZYX
        return flipped.permute(0, 1, *(a + 2 for a in self.order))

    def undone(self, x_BCZYX: torch.Tensor) -> torch.Tensor:
        """The batch that this is the view of."""
        restored = x_BCZYX.permute(0, 1, *(self.order.index(a) + 2 for a in range(3)))
        return restored.flip([a + 2 for a, f in enumerate(self.flips) if f]) if any(self.flips) else restored

    def step(self, offset: Int3) -> Int3:
        """Where a voxel step of the tile points in the view."""
        mirrored = transformed_offset(offset, self.flips, transpose=False)
        return mirrored[self.order[0]], mirrored[self.order[1]], mirrored[self.order[2]]


@dataclass(frozen=True)
class _Route:
    """Which channel of a view predicts which edge of the tile, and whether it sits at the edge's other end."""

    target: int
    source: int
    turned: bool


def views(mode: Mode, voxel_size: Float3) -> tuple[View, ...]:
    """The views of a mode, the untouched one first.

    "none": 1. "flips": 8. "full": the flips with every reordering of the axes that have equal voxel size, which is 16
    for serial sections and 48 for isotropic volumes.

    Raises
    ------
    InputError
        If the mode is unknown.
    """
    if mode not in ("none", "flips", "full"):
        raise InputError(f"test-time averaging '{mode}'", "none, flips or full", "set predict.tta")
    if mode == "none":
        return (View((False, False, False), (0, 1, 2)),)
    orders = [(0, 1, 2)] if mode == "flips" else list(itertools.permutations(range(3)))
    allowed = [
        order
        for order in orders
        if all(math.isclose(voxel_size[a], voxel_size[b], rel_tol=1e-3) for a, b in enumerate(order))
    ]
    flips = list(itertools.product((False, True), repeat=3))
    return tuple(View((f[0], f[1], f[2]), (o[0], o[1], o[2])) for o in allowed for f in flips)


def common_multiple(multiple_of: Int3, voxel_size: Float3, mode: Mode) -> Int3:
    """What tiles must be divisible by so that every view of them fits a network of the given strides."""
    z, y, x = (
        math.lcm(*(multiple_of[view.order.index(axis)] for view in views(mode, voxel_size))) for axis in range(3)
    )
    return z, y, x


class ViewAverage:
    """A predictor of affinities that averages another one over views.

    Parameters
    ----------
    predict
        (B, 1, Z, Y, X) → (B, C, Z, Y, X) probabilities, for every reordering of the tile's axes among `chosen`.
    offsets
        The voxel step of each channel; zero where it speaks of the voxel itself. A view that turns a step into one that
        has no channel does not count for it.
    chosen
        See `views`.
    """

    def __init__(
        self, predict: Callable[[torch.Tensor], torch.Tensor], offsets: Offsets, chosen: Sequence[View]
    ) -> None:
        self.predict, self.offsets = predict, offsets
        routed = ((view, _routes(view, offsets)) for view in chosen)
        self.routed = [(view, routes) for view, routes in routed if routes]

    def __call__(self, x_BCZYX: torch.Tensor) -> torch.Tensor:
        """Average over the views, for each edge over those that predict it."""
        if len(self.routed) == 1:
            return self.predict(x_BCZYX)
        total: torch.Tensor | None = None
        for view, routes in self.routed:
            prediction = view.undone(self.predict(view.of(x_BCZYX)))
            if total is None:
                total = torch.zeros_like(prediction, memory_format=torch.contiguous_format)
                votes = torch.zeros_like(total[0])
            for route in routes:
                near, far = self._ends(route, total)
                total[:, route.target][(slice(None), *near)] += prediction[:, route.source][(slice(None), *far)]
                votes[route.target][near] += 1
        if total is None:
            raise InputError("no views", "at least the untouched one")
        return total.div_(votes)

    def _ends(self, route: _Route, total: torch.Tensor) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        if not route.turned:
            everything = (slice(None),) * 3
            return everything, everything
        z, y, x = total.shape[2:]
        return edge_slices((z, y, x), self.offsets[route.target])


def _routes(view: View, offsets: Offsets) -> list[_Route]:
    channel = {offset: c for c, offset in enumerate(offsets) if any(offset)}
    routes = []
    for target, offset in enumerate(offsets):
        if not any(offset):
            routes.append(_Route(target, target, turned=False))
            continue
        z, y, x = view.step(offset)
        # both directions may have channels; the one that needs no turning predicts the edge at every voxel
        if (z, y, x) in channel:
            routes.append(_Route(target, channel[z, y, x], turned=False))
        elif (-z, -y, -x) in channel:
            routes.append(_Route(target, channel[-z, -y, -x], turned=True))
    return routes
