"""What the page says of mistakes, for each task: neurons fill the volume, other objects lie in a background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neuropil.report.mistakes import BORDER, FALSE, MERGE, MISSED, SPLIT


@dataclass(frozen=True)
class Wording:
    """Words of one task.

    Parameters
    ----------
    legend
        Class of `neuropil.report.mistakes` → its name and meaning, in reading order.
    always
        Classes that the legend has even where there are none.
    shares
        What the shares of the legend are of, where that must be said.
    colours
        What colours of segments mean.
    worst
        What the list of the worst mistakes holds.
    kinds, whole, parts
        Kind of mistake → what it is called, what the object is, and what it consists of.
    many, solid, beside
        What is shown in 3-D: in a word, as it begins a sentence, and what the segmentation has beside it.
    main
        Scores that stand first; None for those of any page.
    titles
        Scores that are called otherwise than in `neuropil.report.meanings.MEANING`.
    """

    legend: Mapping[int, tuple[str, str]]
    always: tuple[int, ...]
    shares: str
    colours: str
    worst: str
    kinds: Mapping[str, str]
    whole: Mapping[str, str]
    parts: Mapping[str, str]
    many: str
    solid: str
    beside: str
    main: tuple[str, ...] | None
    titles: Mapping[str, tuple[str, str]]


_NEURONS = Wording(
    legend={
        SPLIT: ("Split", "in a segment other than its neuron's main one"),
        MERGE: ("Merge", "in its neuron's main segment, which belongs to another neuron"),
        BORDER: ("Border", "neither: mostly a border drawn a little aside"),
        MISSED: ("Missed", "a neuron's voxel without segment"),
    },
    always=(SPLIT, MERGE),
    shares="",
    colours="A segment has the colour of the neuron it is the main part of; pieces and strangers have colours of their "
    "own.",
    worst="Objects of the box above that add most bits to its VOI: neurons cut into pieces, and segments that fuse "
    "neurons.",
    kinds={"split": "split", "merge": "merge"},
    whole={"split": "neuron", "merge": "segment"},
    parts={"split": "segments", "merge": "neurons"},
    many="neurons",
    solid="Some far-reaching neurons of the box",
    beside="Beside them, everything the segmentation joined to them: extra bulk is a merge, a change of colour is a "
    "split.",
    main=None,
    titles={},
)

_SHARES = (
    "Percentages are of the voxels that truth or segmentation labels; where both have background, nothing is wrong."
)

_TITLES = {
    "num_truth": ("True objects", "objects in the truth"),
    "num_pred": ("Predicted objects", "objects in the segmentation"),
}

_OBJECTS = Wording(
    legend={
        MISSED: ("Missed", "in a true object, but not predicted"),
        FALSE: ("False", "predicted where the truth has background"),
        SPLIT: ("Split", "in a further piece of a true object that was cut up"),
        MERGE: ("Merged", "in a predicted object that mostly is another true object"),
        BORDER: ("Border", "between two touching objects, drawn a little aside"),
    },
    always=(MISSED, FALSE, SPLIT, MERGE),
    shares=_SHARES,
    colours="A predicted object has the colour of the true object it is the main part of; pieces and false objects "
    "have colours of their own.",
    worst="Objects of the box above with most wrong voxels. Missed: less than half of a true object was predicted. "
    "False: less than half of a predicted object is true. Split: one true object, several predicted ones. Merged: one "
    "predicted object, several true ones. Rims drawn a little too wide or too narrow are not listed.",
    kinds={"missed": "missed", "false": "false", "split": "split", "merge": "merged"},
    whole=dict.fromkeys(("split", "missed"), "true object") | dict.fromkeys(("merge", "false"), "predicted object"),
    parts={"split": "predicted objects", "merge": "true objects"},
    many="objects",
    solid="Some far-reaching objects of the box",
    beside="Beside them, what the segmentation has of them and whatever it joined to them: a gap is a missed object, a "
    "change of colour is a split, extra bulk is a merge.",
    main=("precision_50", "recall_50", "f1_50", "dice"),
    titles=_TITLES,
)

_MASK = Wording(
    legend={
        MISSED: ("Missed", "in the true mask, but not predicted"),
        FALSE: ("False", "predicted outside the true mask"),
    },
    always=(MISSED, FALSE),
    shares=_SHARES,
    colours="",
    worst="",
    kinds={},
    whole={},
    parts={},
    many="mask",
    solid="The mask in the box",
    beside="Beside the true one, the predicted one.",
    main=("dice", "iou", "foreground_precision", "foreground_recall"),
    titles=_TITLES,
)

#: Task → its words.
WORDINGS: dict[str, Wording] = {"neurons": _NEURONS, "mitochondria": _OBJECTS, "semantic": _MASK}
