"""What work in blocks has taken, from the records of its tasks: speed and memory of every stage, and the cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from neuropil.infer.ledger import Ledger

#: Facts of each stage, by its name.
Timings: TypeAlias = dict[str, dict[str, float]]


def timings(ledger: Ledger, stages: Sequence[tuple[str, int]]) -> Timings:
    """Seconds that workers and their cores were busy, voxels a second of one worker, and peak memory, by stage."""
    found = {}
    for stage, count in stages:
        records = ledger.records(stage, count)
        seconds, voxels = sum(r["seconds"] for r in records), sum(r["voxels"] for r in records)
        found[stage] = {
            "seconds": round(seconds, 3),
            "core_seconds": round(sum(r.get("core_seconds", r["seconds"]) for r in records), 3),
            "voxels": voxels,
            "voxels_per_second": round(voxels / max(seconds, 1e-6)),
            "peak_bytes": max((r["peak_bytes"] for r in records), default=0),
        }
    return found


def costs(spent: Timings) -> dict[str, Any]:
    """Peak memory of a worker, and core-hours for each gigavoxel of the volume, of what has been done so far."""
    voxels = max((s["voxels"] for s in spent.values()), default=0)
    hours = sum(s["core_seconds"] for s in spent.values()) / 3600
    peak = max((int(s["peak_bytes"]) for s in spent.values()), default=0)
    return {"core_hours_per_gigavoxel": round(hours / max(voxels, 1) * 1e9, 4), "peak_bytes": peak}


def cost_lines(spent: Timings) -> list[str]:
    """The same in words, a line a stage."""
    wide = max(map(len, spent), default=0)
    lines = [
        f"{stage:<{wide}}  {s['voxels_per_second'] / 1e6:9.3f} Mvoxel/s of a worker  {s['peak_bytes'] / 2**30:6.2f} GiB"
        for stage, s in spent.items()
    ]
    total = costs(spent)
    return [
        *lines,
        f"cost: {total['core_hours_per_gigavoxel']:.3g} core-hours a gigavoxel; at most "
        f"{total['peak_bytes'] / 2**30:.2f} GiB a worker",
    ]
