"""Make fib25.png of a trained run: a section of a volume that it has not seen, beside what it made of it and the truth.

    python docs/pictures/make.py RUN IMAGE TRUTH [--place 210,34,0]

See README.md beside this file for the run and the volume.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3
import numpy as np
import numpy.typing as npt

from neuropil import api, open_volume
from neuropil.report.colours import id_colours

SIDE = 156
GAP = 6
RGB = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint64]


def coloured(labels_YX: Labels, names_YX: Labels, image_YX: npt.NDArray[np.uint8]) -> RGB:
    """Labels in the colours of their names over the grey values, with their borders dark."""
    ids, index = np.unique(names_YX, return_inverse=True)
    colours = id_colours(ids)[index.reshape(names_YX.shape)].astype(np.float32)
    mixed = 0.62 * colours + 0.38 * image_YX[..., None]
    border = np.zeros(labels_YX.shape, bool)
    border[:, 1:] |= labels_YX[:, 1:] != labels_YX[:, :-1]
    border[1:] |= labels_YX[1:] != labels_YX[:-1]
    mixed[border] *= 0.35
    return mixed.astype(np.uint8)


def named(found_YX: Labels, true_YX: Labels) -> Labels:
    """Each segment under the name of the true neuron that it lies in most, if no other has more of that neuron here."""
    pairs, voxels = np.unique(np.stack([found_YX.ravel(), true_YX.ravel()]), axis=1, return_counts=True)
    names = found_YX + np.uint64(1 << 40)
    taken: set[int] = set()
    done: set[int] = set()
    for column in np.argsort(-voxels, kind="stable"):
        segment, neuron = (int(value) for value in pairs[:, column])
        if segment not in done and neuron not in taken:
            names[found_YX == segment] = neuron
            taken.add(neuron)
        done.add(segment)
    return names


def panels(run: str, image: str, truth: str, place: tuple[int, int, int]) -> list[RGB]:
    """Image, affinities, segmentation, truth: (SIDE, SIDE, 3) each."""
    raw = open_volume(image)
    affinities = api.predict(run, raw)
    labels = api.segment(affinities)
    z, y, x = place
    cut = (z, slice(y, y + SIDE), slice(x, x + SIDE))
    grey = raw.numpy()[cut]
    edges = affinities.volume.numpy()[:3][(slice(None), *cut)]  # type: ignore[union-attr]
    found, true = (volume.numpy()[cut].astype(np.uint64) for volume in (labels, open_volume(truth)))
    return [
        np.repeat(grey[..., None], 3, axis=2),
        np.moveaxis(edges, 0, -1).copy(),
        coloured(found, named(found, true), grey),
        coloured(true, true, grey),
    ]


def main() -> None:
    """Make the picture beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("image")
    parser.add_argument("truth")
    parser.add_argument("--place", default="210,34,0", help="first voxel that is shown: z,y,x")
    given = parser.parse_args()
    z, y, x = (int(word) for word in given.place.split(","))
    shown = panels(given.run, given.image, given.truth, (z, y, x))
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    row = np.concatenate([part for panel in shown for part in (panel, gap)][:-1], axis=1)
    imageio.v3.imwrite(Path(__file__).with_name("fib25.png"), row, optimize=True)


if __name__ == "__main__":
    main()
