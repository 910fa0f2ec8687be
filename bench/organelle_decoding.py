"""Organelles from the same predictions by our decoding and by scikit-image's marker watershed: scores and seconds.

    python bench/organelle_decoding.py
    python bench/organelle_decoding.py --run runs/bench/mitochondria_phantom_s0

The crowd: 120 bodies that fill more than half of a volume and nearly all touch. Its prediction is what a network is
taught, then blurred and with noise, more and more. Both get the same seeds, mask and least size, but flood otherwise.
--run adds what a network says of the test phantom of bench/mitochondria.py, decoded with its run's own settings.
Writes docs/results/organelle_decoding.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cc3d
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from skimage.segmentation import watershed

from mitochondria import phantom
from neuropil import api
from neuropil.config import InstancesConfig
from neuropil.data.organelles import OrganelleTargets
from neuropil.geometry import Float3, Int3
from neuropil.metrics.matching import match, overlaps
from neuropil.metrics.overlap import contingency
from neuropil.post.filters import relabelled
from neuropil.post.instances import instances, least_voxels
from neuropil.versions import versions
from runs import ROOT, keep, machine

RESULTS = ROOT / "docs/results/organelle_decoding.json"
SHAPE, BODIES, SIZE = (96, 128, 128), 120, (8.0, 8.0, 8.0)
#: Voxels of blur and grey levels of noise of what is decoded.
SPOILT = ((0, 0), (1, 10), (2, 20))
Labels = npt.NDArray[Any]


class Case(NamedTuple):
    """A prediction, its truth, voxel size (nm) and settings."""

    name: str
    stored_CZYX: npt.NDArray[np.uint8]
    truth_ZYX: Labels
    voxel_size: Float3
    config: InstancesConfig


def crowd(seed: int, shape: Int3) -> npt.NDArray[np.uint32]:
    """Balls of 8 to 18 voxels that share out the room where they overlap, by the distance to their surfaces."""
    rng = np.random.default_rng(seed)
    centres, radii = rng.random((BODIES, 3)) * shape, rng.uniform(8, 18, BODIES)
    place = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    nearest, labels = np.zeros(shape), np.zeros(shape, np.uint32)
    for label, (centre, radius) in enumerate(zip(centres, radii, strict=True), start=1):
        power = ((place - centre) ** 2).sum(-1) - radius**2
        labels[power < nearest] = label
        nearest = np.minimum(nearest, power)
    return cc3d.connected_components(labels, connectivity=6).astype(np.uint32)


def taught(labels_ZYX: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
    """What a network without faults says of labels, 0 to 255."""
    targets = OrganelleTargets(SIZE, 50.0, 100.0, ())
    wide = np.pad(labels_ZYX, [(max(side),) * 2 for side in targets.context])
    values = targets(wide, np.ones(wide.shape, np.bool_))["targets"]
    values[2] = (values[2] + 1) / 2
    return np.asarray(255 * values, np.float32)


def cases(seeds: int) -> Iterator[Case]:
    """Crowds, spoilt more and more."""
    for seed in range(seeds):
        truth, rng = crowd(seed, SHAPE), np.random.default_rng(seed)
        clean = taught(truth)
        for blur, noise in SPOILT:
            noisy = [gaussian_filter(c, blur) + 6 * noise * gaussian_filter(rng.normal(size=SHAPE), 1) for c in clean]
            stored = np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)
            yield Case(f"crowd, blur {blur}, noise {noise}", stored, truth, SIZE, InstancesConfig())


def classic(stored_CZYX: npt.NDArray[np.uint8], voxel_size: Float3, config: InstancesConfig) -> Labels:
    """The same seeds, flooded by a queue of voxels."""
    foreground, contour, distance = stored_CZYX[:3]
    mask = foreground >= 255 * config.foreground
    seeds = mask & (foreground >= 255 * config.seed_foreground) & (contour < 255 * config.seed_contour)
    seeds &= distance >= 255 * (config.seed_distance + 1) / 2
    marks = cc3d.connected_components(seeds, connectivity=6).astype(np.int32)
    labels = watershed(255 - distance, marks, mask=mask, connectivity=1)  # type: ignore[no-untyped-call]
    small = np.bincount(labels.ravel()) < least_voxels(config.min_size_um3, voxel_size)
    return relabelled(np.where(small[labels], 0, labels))


WAYS: dict[str, Callable[..., Labels]] = {"ours": instances, "scikit-image": classic}


def scored(case: Case, way: Callable[..., Labels]) -> dict[str, float]:
    """Scores of one decoding, and seconds of its core."""
    started = time.process_time()
    labels = way(case.stored_CZYX, case.voxel_size, case.config)
    seconds = time.process_time() - started
    pairs = overlaps(contingency(case.truth_ZYX, labels))
    both = max(1, len(pairs.truth_ids) + len(pairs.pred_ids))
    f1 = {f"f1_{round(100 * t)}": 2 * len(match(pairs, t).iou) / both for t in (0.5, 0.75, 0.9)}
    quality = 2 * float(match(pairs, 0.5).iou.sum()) / both
    return {"objects": len(pairs.pred_ids), **f1, "pq_50": quality, "seconds": seconds}


def main() -> None:
    """Decode, score, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--run", type=Path, help="of `python bench/mitochondria.py phantom`")
    args = parser.parse_args()
    chosen = list(cases(args.seeds))
    if args.run:
        image, truth = phantom().test
        volume = api.predict(args.run, image)
        config = InstancesConfig.model_validate(volume.attrs["instances"])
        chosen.append(Case("a network", volume.numpy(), truth.numpy(), volume.voxel_size, config))
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    scored(chosen[0], instances)  # compiles
    for case in chosen:
        for name, way in WAYS.items():
            found.setdefault(case.name, {}).setdefault(name, []).append(scored(case, way))
    means = {
        case: {
            way: {key: round(float(np.mean([r[key] for r in rows])), 4) for key in rows[0]}
            for way, rows in ways.items()
        }
        for case, ways in found.items()
    }
    for title, table in means.items():
        for name, row in table.items():
            print(f"{title:<26} {name:<13}" + "  ".join(f"{k} {v:g}" for k, v in row.items()))
    words = f" --run runs/bench/{args.run.name}" if args.run else ""
    made = {"command": f"python bench/organelle_decoding.py{words}", "seeds": args.seeds}
    keep({**made, "machine": machine(), "versions": versions(), "cases": means}, RESULTS)


if __name__ == "__main__":
    main()
