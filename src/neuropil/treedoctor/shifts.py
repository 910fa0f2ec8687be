"""Where a tree lies on an image if it was moved by any length: one correlation tells all shifts.

What is thin and stands out is what remains of an image after an opening is taken away (a white top-hat, or of the
negative image where neurites are dark). Unlike grey values it is low beside neurites, so the correlation of its ranks
with a tree has a narrow summit; how far that rises above all shifts elsewhere says whether it can be believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from neuropil.geometry import Int3
from neuropil.treedoctor.image import APART, Ints, Placing, TreeOnImage

Singles = npt.NDArray[np.float32]

#: The image is reduced to at most so many voxels; a tree may be so many times as long as it.
_REDUCED, _LONGEST = 2**20, 1.25
#: What is thinner than so many voxels of the image stands out; elsewhere is farther from the summit than so many.
_THIN, _ELSEWHERE = 15, 10
#: A summit is believed from this height on, and if all elsewhere falls this many times as short of 1 as it does. Of the
#: trees of 71 BigNeuron projections 69 have 1.7 or more where they belong; of the other stain, or on images of other
#: neurons, all have 1.5 at the most. In small images it can be more, so placings are compared by it, and one that
#: changes more must be better by a share. What reaches the third number needs no comparison.
_HEIGHT, _TIMES, _CERTAIN, _CLEARLY = 0.5, 1.6, 4.0, 1.1


def located(case: TreeOnImage, turns: Sequence[Placing]) -> Placing | None:
    """The placing with the shift at which the tree lies on the image beyond doubt, or none; sets the case's sign.

    Parameters
    ----------
    turns
        Placings without shifts, the likely ones first: of two that are about as good the first is taken.
    """
    if case.held is None:
        return None
    factor = _factor(case)
    small = _reduced(case.held, factor)
    padded = _padded(small.shape)
    spectra = {sign: _spectrum(_standing_out(small * sign, factor), padded) for sign in (1.0, -1.0)}
    best: tuple[float, float, Placing] | None = None
    for how in turns:
        cells = np.unique((case.voxels(how) - case.image.box.start) // factor, axis=0)
        low = cells.min(axis=0)
        long = (cells.max(axis=0) - low >= _LONGEST * np.array(small.shape)).any()
        # a tree that a wrong unit crowds into few voxels lies well on any bright spot
        if long or len(cells) < min(APART, len(case.nodes) // 4):
            continue
        for sign, times, shift in _summits(spectra, cells - low, padded, small.shape, factor):
            if best is None or times > best[0] * _CLEARLY:
                z, y, x = ((shift - low) * factor).tolist()
                best = times, sign, replace(how, shift=(z, y, x))
        if best is not None and best[0] >= _CERTAIN:
            break
    if best is None:
        return None
    case.sign = best[1]
    return _refined(case, best[2], factor)


def _summits(
    spectra: dict[float, npt.NDArray[np.complex64]], cells: Ints, padded: Int3, shape: Sequence[int], factor: Ints
) -> Iterator[tuple[float, float, Ints]]:
    """Of each sign whose summit can be believed: the sign, how many times it is nearer to 1, and the summit's place."""
    from scipy import fft

    tree = np.zeros(padded, np.float32)
    tree[tuple(cells.T)] = 1
    turned = np.conj(fft.rfftn(tree))
    for sign, spectrum in spectra.items():
        heights = fft.irfftn(spectrum * turned, padded) / len(cells)
        top = np.array(np.unravel_index(int(heights.argmax()), padded))
        height = float(heights.max())
        around = [
            np.arange(t - a, t + a + 1) % n
            for t, a, n in zip(top, np.maximum(3, -(-_ELSEWHERE // factor)), padded, strict=True)
        ]
        heights[np.ix_(*around)] = -1
        times = (1 - float(heights.max())) / max(1 - height, 1e-3)
        if height >= _HEIGHT and times >= _TIMES:
            yield sign, times, np.where(top >= np.array(shape), top - np.array(padded), top)


def _factor(case: TreeOnImage) -> Ints:
    """Voxels of the image in one of the reduced image, z, y, x: its voxels become alike in nm as far as they can."""
    shape, size = np.array(case.image.box.shape), np.array(case.image.voxel_size)
    factor = np.ones(3, np.int64)
    while np.prod(-(-shape // factor)) > _REDUCED:
        factor[np.argmin(np.where(shape > factor, factor * size, np.inf))] += 1
    return factor


def _reduced(image: npt.NDArray[np.generic], factor: Ints) -> Singles:
    """Means of blocks of voxels; of the last ones that are not whole, of what there is."""
    out = image.astype(np.float32)
    for axis, f in enumerate(factor.tolist()):
        if f > 1:
            starts = np.arange(0, out.shape[axis], f)
            counts = np.diff([*starts, out.shape[axis]]).astype(np.float32)
            shape = [-1 if a == axis else 1 for a in range(3)]
            out = np.divide(np.add.reduceat(out, starts, axis=axis), counts.reshape(shape), dtype=np.float32)
    return out


def _standing_out(image: Singles, factor: Ints) -> Singles:
    """2 rank - 1 of the white top-hat of a smoothed image."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(image, [0.7 if n > 1 else 0 for n in image.shape])
    size = [min(n, max(3, round(_THIN / f))) for n, f in zip(image.shape, factor.tolist(), strict=True)]
    above = smooth - ndimage.grey_opening(smooth, size=size)
    known = np.sort(np.random.default_rng(0).choice(above.ravel(), min(40_000, above.size)))
    low, high = (np.searchsorted(known, above, side=side) for side in ("left", "right"))
    ranks: Singles = ((low + high) / len(known) - 1).astype(np.float32)
    return ranks


def _padded(shape: Sequence[int]) -> Int3:
    """Room for every shift, and lengths that are transformed fast."""
    from scipy import fft

    z, y, x = (fft.next_fast_len(int(n + _LONGEST * n) + 1, real=True) if n > 1 else 1 for n in shape)
    return int(z), int(y), int(x)


def _spectrum(image: Singles, padded: Int3) -> npt.NDArray[np.complex64]:
    from scipy import fft

    found: npt.NDArray[np.complex64] = fft.rfftn(image, padded)
    return found


def _refined(case: TreeOnImage, how: Placing, factor: Ints) -> Placing:
    """The best shift within the cells of the reduced image."""
    steps = [range(-int(f), int(f) + 1) if f > 1 else (0,) for f in factor]
    tries = []
    for z in steps[0]:
        for y in steps[1]:
            for x in steps[2]:
                a, b, c = how.shift
                tries.append(replace(how, shift=(a + z, b + y, c + x)))
    return max(tries, key=case.score) if len(tries) > 1 else how
