"""Matching of instances: sparse pairs against the dense matrix of all true by all predicted objects.

    python bench/bench_detection.py [--objects 1000 10000 100000] [--million] [--out docs/results/detection_speed.json]

Truth: cells of a lattice with gaps; prediction: the same, a third of them split, shifted or lost. Both ways start from
the same table of label pairs; counting it is timed for itself. The dense way fills int32 rows for 256 true objects at a
time, as no machine holds 10⁵ x 10⁵ of them, takes IoUs in float32 and looks for those of at least 0.5. `all scores` is
everything that `evaluate` prints: matching at two thresholds, AP at ten in two rankings, groups of sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from neuropil.metrics.detection import detection, match, overlaps
from neuropil.metrics.overlap import Contingency, contingency

CELL = 6
DENSE_ROWS = 256


def volumes(objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction of about so many objects, uint32."""
    rng = np.random.default_rng(0)
    side = round(objects ** (1 / 3))
    names = (rng.permutation(side**3) + 1).astype(np.uint32).reshape((side,) * 3)
    truth = np.kron(names, np.ones((CELL,) * 3, np.uint32))
    pred, fate = truth.copy(), rng.integers(0, 9, side**3 + 1)
    z, y, x = np.indices((CELL,) * 3)
    corner = np.tile((z + y + x >= 2 * CELL - 4), (side,) * 3)
    pred[corner & (fate[truth] == 0)] += np.uint32(side**3)
    pred[fate[truth] == 1] = 0
    pred = np.where(fate[truth] == 2, np.roll(truth, 1, axis=2), pred)
    gap = np.tile((z == 0) | (y == 0), (side,) * 3)
    truth[gap] = 0
    return truth, pred


def dense_match(table: Contingency) -> int:
    """Pairs of IoU ≥ 0.5 by the full matrix, some rows at a time."""
    pairs = overlaps(table)
    both = pairs.iou * (pairs.truth_voxels[pairs.row] + pairs.pred_voxels[pairs.column]) / (1 + pairs.iou)
    both = np.rint(both).astype(np.int32)
    found = 0
    for start in range(0, len(pairs.truth_ids), DENSE_ROWS):
        a, b = np.searchsorted(pairs.row, (start, start + DENSE_ROWS))
        rows = min(DENSE_ROWS, len(pairs.truth_ids) - start)
        matrix = np.zeros((rows, len(pairs.pred_ids)), np.int32)
        matrix[pairs.row[a:b] - start, pairs.column[a:b]] = both[a:b]
        union = pairs.truth_voxels[start : start + rows, None].astype(np.int32) + pairs.pred_voxels.astype(np.int32)
        union -= matrix
        found += int((np.divide(matrix, union, dtype=np.float32) >= 0.5).sum())
    return found


def sparse_match(table: Contingency) -> int:
    return len(match(overlaps(table), 0.5).iou)


def seconds(work: Callable[[], Any], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measured(objects: int, *, dense: bool) -> dict[str, Any]:
    truth, pred = volumes(objects)
    table = contingency(truth, pred)
    row: dict[str, Any] = {
        "objects": [int((np.unique(a) > 0).sum()) for a in (table.truth, table.pred)],
        "voxels": truth.size,
        "pairs": len(table.voxels),
        "count_pairs_s": seconds(lambda: contingency(truth, pred), 1),
        "match_s": seconds(lambda: sparse_match(Contingency(table.truth, table.pred, table.voxels, 0)), 3),
        "all_scores_s": seconds(lambda: detection(Contingency(table.truth, table.pred, table.voxels, 0)), 1),
        "matched": sparse_match(table),
    }
    if dense:
        row["dense_match_s"] = seconds(lambda: dense_match(table), 1)
        assert dense_match(table) == row["matched"] if objects <= 10_000 else True
        row["ratio"] = row["dense_match_s"] / row["match_s"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--million", action="store_true", help="Also 10⁶ objects, without the dense matrix.")
    parser.add_argument("--out", type=Path, default=Path("docs/results/detection_speed.json"))
    args = parser.parse_args()
    detection(contingency(*volumes(27)))  # compile
    rows = [measured(n, dense=True) for n in args.objects]
    rows += [measured(1_000_000, dense=False)] if args.million else []
    print("  true / predicted      voxels   count s   match s   all scores s   dense match s   ratio")
    for row in rows:
        true, predicted = row["objects"]
        dense = f"{row['dense_match_s']:15.3f} {row['ratio']:7.0f}" if "ratio" in row else f"{'-':>15s} {'-':>7s}"
        print(
            f"{true:8d} / {predicted:8d} {row['voxels'] / 1e6:8.1f} M {row['count_pairs_s']:9.3f} "
            f"{row['match_s']:9.4f} {row['all_scores_s']:14.3f} {dense}"
        )
    report = {
        "command": " ".join(["python", *sys.argv]),
        "results": rows,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "numba", "scipy")},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
