"""What a report is made from: `ReportData`, every part of which may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from neuropil.geometry import Float3, Int3

if TYPE_CHECKING:
    from neuropil.report.trees import TreeView
    from neuropil.volume import Volume


@dataclass(frozen=True)
class Timing:
    """What one stage of a run cost.

    Parameters
    ----------
    seconds
        Wall time.
    peak_bytes
        Largest resident memory of the process in the stage.
    voxels
        Voxels worked on, from which the page derives the speed.
    """

    seconds: float
    peak_bytes: int | None = None
    voxels: int | None = None


@dataclass(frozen=True)
class Strip:
    """Pictures of one thing side by side.

    Parameters
    ----------
    title
        What they are of.
    pictures
        (caption, grey values 0..1 of shape (Y, X)).
    pixel_nm
        Size of a voxel in the picture, y, x.
    """

    title: str
    pictures: Sequence[tuple[str, npt.NDArray[Any]]]
    pixel_nm: tuple[float, float]


@dataclass(frozen=True)
class Arm:
    """One way to get a network in a study: where it was measured, and what came out.

    Parameters
    ----------
    name
        As the study calls it.
    budgets
        Shares of the labels, above 0 and up to 1.
    means, halves
        Mean over seeds, and half the width of its 95 % interval (NaN for one seed).
    seeds
        Their number.
    """

    name: str
    budgets: Sequence[float]
    means: Sequence[float]
    halves: Sequence[float]
    seeds: Sequence[int]


@dataclass(frozen=True)
class LabelEfficiency:
    """How a score goes with the share of the labels, for several arms.

    Parameters
    ----------
    score
        What it is called, and better: "lower" or "higher".
    arms
        Lines of the plot.
    """

    score: tuple[str, str]
    arms: Sequence[Arm]


@dataclass(frozen=True)
class ReportData:
    """Everything the page may show of one run; what is missing is left out of the page.

    Parameters
    ----------
    title
        Name of the run.
    summary
        What was run on what, in reading order: recipe, data, voxel size, parameters, seed, versions, time. The key
        ``"command"`` is shown as a line to copy.
    metrics
        Training rows (the JSONL of a run): ``step``, ``loss`` and whatever else was logged.
    validation
        Validation rows: ``step`` and scores such as ``voi_sum``.
    sweep
        One row for each threshold tried: ``threshold``, ``voi_split``, ``voi_merge``, ``voi_sum``, ``arand``.
    threshold
        The one that was chosen.
    scores
        Final scores; those of `neuropil.report.meanings.MEANING` are explained.
    image, truth, segmentation, affinities
        Volumes (or arrays) on one grid: (Z, Y, X), and (C, Z, Y, X) for affinities.
    offsets
        Voxel step z, y, x of each affinity channel.
    voxel_size
        nm, z, y, x; needed for arrays only, as volumes know theirs.
    timings
        Stage → seconds, or `Timing`.
    notes
        Sentences shown at the end of the summary.
    warnings
        Sentences shown before everything else.
    strips, strips_lead
        Further pictures, and what they show.
    trees
        A traced tree beside a true one.
    settings
        Nested; of several runs the page shows those that differ.
    held_back
        Best scores on what the run held back while it learned.
    card
        What a stranger must know before using the weights: words by what they are about.
    efficiency
        Plots of a study, one a score.
    task
        "neurons": 0 in the truth is not annotated. "mitochondria": any objects, 0 is background. "semantic": a mask.
    """

    title: str
    summary: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    validation: Sequence[Mapping[str, Any]] = ()
    sweep: Sequence[Mapping[str, Any]] = ()
    threshold: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    image: Volume | npt.NDArray[Any] | None = None
    truth: Volume | npt.NDArray[Any] | None = None
    segmentation: Volume | npt.NDArray[Any] | None = None
    affinities: Volume | npt.NDArray[Any] | None = None
    offsets: Sequence[Int3] = ()
    voxel_size: Float3 | None = None
    timings: Mapping[str, float | Timing] = field(default_factory=dict)
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    strips: Sequence[Strip] = ()
    strips_lead: str = ""
    trees: TreeView | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    held_back: Mapping[str, float] = field(default_factory=dict)
    card: Mapping[str, str] = field(default_factory=dict)
    efficiency: Sequence[LabelEfficiency] = ()
    task: str = "neurons"


@dataclass(frozen=True)
class Look:
    """How much the page shows; the defaults keep a page below about 8 MB.

    Parameters
    ----------
    voxels, side
        Most voxels of the pictured box, and of one of its sides in the section.
    sections
        Steps of the section slider.
    worst
        Objects in the table of mistakes.
    neurons, turns, solid_pixels, solid_side
        Of the 3-D picture: objects, views around it, pixels of a view, voxels along its longest side.
    plane_pixels, place_pixels
        Width of the plane pictures, and of those of mistakes.
    tree_pixels
        Longer side of the pictures of trees.
    """

    voxels: int = 256**3
    side: int = 512
    sections: int = 24
    worst: int = 10
    neurons: int = 9
    turns: int = 12
    solid_pixels: int = 460
    solid_side: int = 224
    plane_pixels: int = 560
    place_pixels: int = 280
    tree_pixels: int = 900

    def shared(self, runs: int) -> Look:
        """Fewer sections and views for each of several runs, so that the page stays light."""
        if runs <= 1:
            return self
        return replace(
            self,
            sections=max(6, round(self.sections / runs)),
            turns=max(1, round(self.turns / runs)),
        )
