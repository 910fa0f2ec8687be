"""`Plan`: stages with what each takes, and whether this machine has it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuropil.errors import InputError, VolumeError


@dataclass(frozen=True)
class Stage:
    """One part of some work.

    Parameters
    ----------
    name, amount
        What is done, and how much of it.
    seconds
        As measured on a part of it.
    memory_bytes, disk_bytes
        At the most, while it lasts; and when it is done.
    """

    name: str
    amount: str
    seconds: float
    memory_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True)
class Plan:
    """The stages of one verb.

    Parameters
    ----------
    what
        The verb and what it is done to.
    notes
        What a reader should know of how the numbers came about.
    """

    what: str
    stages: tuple[Stage, ...]
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Of all stages, one after another."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def memory_bytes(self) -> int:
        """Of the stage that needs most."""
        return max(stage.memory_bytes for stage in self.stages)

    @property
    def disk_bytes(self) -> int:
        """Of all stages."""
        return sum(stage.disk_bytes for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "plan": self.what,
            "seconds": round(self.seconds, 1),
            "memory_gib": round(self.memory_bytes / 2**30, 3),
            "disk_gib": round(self.disk_bytes / 2**30, 4),
            "stages": [
                {
                    "stage": stage.name,
                    "amount": stage.amount,
                    "seconds": round(stage.seconds, 1),
                    "memory_gib": round(stage.memory_bytes / 2**30, 3),
                    "disk_gib": round(stage.disk_bytes / 2**30, 4),
                }
                for stage in self.stages
            ],
            "notes": list(self.notes),
        }


def require_memory(what: str, need: int, free: int, fixes: Sequence[str]) -> None:
    """Refuse what cannot fit into memory.

    Parameters
    ----------
    need, free
        Bytes.
    fixes
        What would make it fit, best first.

    Raises
    ------
    InputError
        If more is needed than there is.
    """
    if need > free:
        raise InputError(
            f"{what} takes about {need / 2**30:.3g} GiB of memory, and {free / 2**30:.3g} GiB are free",
            "what fits",
            "; or ".join(fixes),
        )


def require_disk(out: Path, need: int) -> None:
    """Refuse what cannot fit onto the disk of `out`, which need not be there yet.

    Raises
    ------
    VolumeError
        If more bytes are needed than there are.
    """
    folder = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if need > free:
        raise VolumeError(
            f"'{out}' takes about {need / 2**30:.3g} GiB, and '{folder}' has {free / 2**30:.3g} GiB of free disk",
            "what fits",
            "make room, or give an --out on another disk",
        )
