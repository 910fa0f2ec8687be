"""Whatever is drawn, image, labels and affinities stay in step."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from neuropil.affinities import NEAREST
from neuropil.config import AugmentConfig, DataConfig
from neuropil.data.augment import apply, draw
from neuropil.data.sampling import Sampler, prepare
from neuropil.data.targets import AffinityTargets, context_for
from neuropil.volume import Volume

LONG = (*NEAREST, (0, -4, 0), (0, 0, 5), (-2, 1, -3))
GEOMETRY_ONLY = dict.fromkeys(
    ("noise", "intensity", "blur", "intensity_section", "missing_section", "low_contrast_section", "defocus_section"), 0
)
chance = st.sampled_from([0.0, 0.5, 1.0])
geometries = st.builds(
    AugmentConfig,
    flip=st.booleans(),
    rotate90=st.booleans(),
    elastic=chance,
    elastic_spacing_nm=st.floats(30, 400),
    elastic_sigma_nm=st.floats(0, 12),
    rotate=chance,
    rescale=chance,
    rescale_range=st.sampled_from([(0.8, 1.25), (0.6, 0.7), (1.0, 1.6)]),
    slip=chance,
    shift=chance,
    shift_max=st.integers(0, 12),
    **{name: st.just(value) for name, value in GEOMETRY_ONLY.items()},
)
shapes = st.tuples(st.integers(3, 14), st.integers(6, 20), st.integers(6, 20))
voxel_sizes = st.sampled_from([(8.0, 8.0, 8.0), (40.0, 4.0, 4.0), (50.0, 4.0, 4.6), (10.0, 8.0, 8.0)])
contexts = st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 3)


@settings(max_examples=60, deadline=None)
@given(geometries, shapes, voxel_sizes, contexts, st.integers(0, 2**32))
def test_image_and_labels_come_from_the_same_place(config, shape, voxel_size, context, seed):
    plan = draw(config, np.random.default_rng(seed), shape, voxel_size, context)
    low = [a for a, _ in plan.label_halo]
    wide = [n + a + b for n, (a, b) in zip(shape, plan.label_halo, strict=True)]
    numbered = np.arange(np.prod(wide), dtype=np.uint32).reshape(wide)
    valid = np.random.default_rng(seed).random(wide) < 0.7
    grids = [np.arange(-a, n + b, dtype=np.float32) for n, (a, b) in zip(shape, plan.image_halo, strict=True)]
    for axis, ramp in enumerate(np.meshgrid(*grids, indexing="ij")):
        image, labels, known = apply(plan, np.ascontiguousarray(ramp), numbered, valid)
        assert labels.shape == tuple(n + a + b for n, (a, b) in zip(shape, context, strict=True))
        inner = labels[tuple(slice(a, n - b) for n, (a, b) in zip(labels.shape, context, strict=True))]
        place = np.unravel_index(inner, wide)[axis] - low[axis]
        # the linear image says where it was read; the nearest label must lie within half a voxel of there
        assert np.abs(image - place).max() <= 0.5 + 1e-3
        np.testing.assert_array_equal(known, valid.ravel()[labels])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), voxel_sizes, st.booleans())
def test_affinities_point_the_right_way_after_flips(seed, voxel_size, context):
    """With flips and exchanged axes alone the image still holds the ids: affinities are checked against it."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 4, (14, 16, 18)).astype(np.uint8)
    moves = AugmentConfig(elastic=0, slip=0, shift=0, **GEOMETRY_ONLY)
    config = DataConfig(augment=moves, normalise="uint8", label_context=context, min_labelled=0)
    pair = (Volume(ids, voxel_size, kind="image"), Volume(ids.astype(np.uint64), voxel_size, kind="labels"))
    targets = AffinityTargets.of(LONG, config, voxel_size)
    sample = Sampler(prepare([pair], config), (8, 10, 10), targets, config, seed)(seed)
    seen = np.round(sample["image"][0] * 255).astype(int)
    for c, (dz, dy, dx) in enumerate(LONG):
        for z, y, x in np.ndindex(seen.shape):
            far = (z + dz, y + dy, x + dx)
            if all(0 <= f < n for f, n in zip(far, seen.shape, strict=True)):
                assert sample["valid"][c, z, y, x]
                assert sample["affinities"][c, z, y, x] == (seen[z, y, x] == seen[far] > 0)
            elif not context:
                assert not sample["valid"][c, z, y, x]


@settings(max_examples=15, deadline=None)
@given(geometries, voxel_sizes, st.integers(0, 1000), st.integers(0, 2))
def test_no_known_edge_lies_outside_the_labels(config, voxel_size, seed, widen):
    """A volume as small as the crop: whatever the warps reach for beyond it is in the image but never in the targets."""
    ids = np.full((12, 14, 14), 3, np.uint8)
    data = DataConfig(augment=config, normalise="uint8", widen_border=widen)
    pair = (Volume(ids, voxel_size, kind="image"), Volume(ids.astype(np.uint64), voxel_size, kind="labels"))
    sampler = Sampler(prepare([pair], data), ids.shape, AffinityTargets.of(LONG, data, voxel_size), data, seed)
    sample = sampler(seed)
    assert np.isfinite(sample["image"]).all()
    known = sample["valid"].astype(bool)
    # inside the labels there is one object only, so any other answer would have come from outside
    assert sample["affinities"][known].all()
    halo = context_for(LONG, (widen, widen, widen))
    assert halo[2][1] >= 5
