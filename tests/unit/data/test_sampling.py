import numpy as np
import pytest

from neuropil.affinities import NEAREST
from neuropil.config import AugmentConfig, DataConfig
from neuropil.data.augment import AugmentPlan
from neuropil.data.augment.base import Crop
from neuropil.data.augment.geometry import Rescale
from neuropil.data.sampling import InMemory, Sampler, prepare, read_for, split_region
from neuropil.data.targets import AffinityTargets
from neuropil.errors import GeometryError, InputError
from neuropil.geometry import Box
from neuropil.volume import Volume

PLAIN = AugmentConfig(flip=False, rotate90=False, elastic=0, intensity=0, noise=0, blur=0)
LONG = (*NEAREST, (0, -6, 0), (0, 0, -6))


def config(**changes):
    return DataConfig(**{"augment": PLAIN, "normalise": "uint8", **changes})


def sampler(pairs, settings, crop=(16, 16, 16), offsets=NEAREST, seed=0, **more):
    sources = prepare(pairs, settings, **more)
    targets = AffinityTargets.of(offsets, settings, sources[0].region.voxel_size)
    return Sampler(sources, crop, targets, settings, seed)


def grey(sample):
    return np.round(sample["image"][0] * 255).astype(int)


def test_shapes_and_types(make_pair):
    sample = sampler([make_pair()], DataConfig(), (16, 18, 20), LONG)(3)
    assert {k: (v.shape, v.dtype.name) for k, v in sample.items()} == {
        "image": ((1, 16, 18, 20), "float32"),
        "affinities": ((5, 16, 18, 20), "uint8"),
        "valid": ((5, 16, 18, 20), "uint8"),
    }


def test_a_sample_depends_on_seed_and_index_only(make_pair):
    settings = DataConfig()
    first, second = (sampler([make_pair()], settings) for _ in range(2))
    second(0)
    for key in ("image", "affinities", "valid"):
        np.testing.assert_array_equal(first(7)[key], second(7)[key])
    assert not np.array_equal(first(7)["image"], first(8)["image"])
    assert not np.array_equal(first(7)["image"], sampler([make_pair()], settings, seed=1)(7)["image"])


def test_cached_and_lazy_volumes_give_the_same_samples(make_pair):
    held = sampler([make_pair()], DataConfig())
    lazy = sampler([make_pair()], DataConfig(cache_gb=0))
    assert isinstance(held.sources[0].image, InMemory)
    assert isinstance(lazy.sources[0].image, Volume)
    for i in range(5):
        for key, value in held(i).items():
            np.testing.assert_array_equal(value, lazy(i)[key])


def test_memory_limit_counts_all_volumes(make_pair):
    need = 40 * 44 * 48 * 6 / 2**30
    sources = prepare([make_pair(), make_pair(seed=1)], config(cache_gb=1.5 * need))
    assert [isinstance(s.image, InMemory) for s in sources] == [True, False]


def test_volumes_are_drawn_by_their_labelled_voxels(make_pair):
    image, labels = make_pair((16, 16, 64))
    sparse = labels.numpy()
    sparse[..., 32:] = 0
    bright = Volume(np.where(np.arange(64) % 2, 255, 254).astype(np.uint8) * np.ones((16, 16, 1), np.uint8), (8, 8, 8))
    half = Volume(sparse, (8, 8, 8), kind="labels")
    draws = sampler([(image, labels), (bright, half)], config(), (8, 8, 8))
    assert draws._weights == pytest.approx([2 / 3, 1 / 3])
    share = np.mean([grey(draws(i)).min() >= 254 for i in range(300)])
    assert 0.25 < share < 0.42


def test_crops_have_the_least_labelled_share(make_pair):
    image, labels = make_pair((20, 20, 80))
    array = labels.numpy()
    array[..., 30:] = 0
    draws = sampler([(image, Volume(array, (8, 8, 8), kind="labels"))], config(min_labelled=0.5), (10, 10, 10))
    for i in range(40):
        # the image shows ids everywhere; its labels are 0 where an in-object edge is known and absent
        assert draws(i)["affinities"][0].mean() > 0.3


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_a_speck_of_labels_in_a_large_volume_is_found(make_pair, cache_gb):
    image, _ = make_pair((64, 96, 96))
    array = np.zeros((64, 96, 96), np.uint64)
    array[20:26, 40:46, 50:56] = 4
    pair = (image, Volume(array, (8, 8, 8), kind="labels"))
    draws = sampler([pair], config(min_labelled=0.9, cache_gb=cache_gb), (16, 16, 16))
    assert sum(draws(i)["affinities"].any() for i in range(5)) == 5


def test_full_region_is_covered_to_its_ends(make_pair):
    image, labels = make_pair((12, 12, 12))
    draws = sampler([(image, labels)], config(), (10, 10, 10))
    starts = {draws._place(0, np.random.default_rng(i)).start for i in range(300)}
    assert starts == {(z, y, x) for z in range(3) for y in range(3) for x in range(3)}


def test_world_boxes_of_image_and_labels_are_brought_together(make_pair):
    image, _ = make_pair((40, 40, 40), offset=(80, 160, 240))
    inner = image.box.grown((-8, -8, -8))
    labels = Volume(image.read(inner).astype(np.uint64), (8, 8, 8), inner.offset_nm, kind="labels")
    draws = sampler([(image, labels)], config(label_context=False))
    for i in range(10):
        sample = draws(i)
        ids = grey(sample)
        same = ids[:, :, 1:] == ids[:, :, :-1]
        np.testing.assert_array_equal(sample["affinities"][2][:, :, 1:], same)


def test_labels_thinner_than_the_crop_are_surrounded_by_raw(make_pair):
    image, _ = make_pair((40, 40, 40))
    inner = Box((15, 4, 4), (25, 36, 36), (8, 8, 8))
    labels = Volume(image.read(inner).astype(np.uint64), (8, 8, 8), inner.offset_nm, kind="labels")
    draws = sampler([(image, labels)], config(label_context=False))
    for i in range(20):
        place = draws._place(0, np.random.default_rng(i))
        assert place.start[0] <= 15
        assert place.stop[0] >= 25
        assert draws(i)["valid"][1].any(axis=(1, 2)).sum() == 10


def test_nothing_is_learned_from_outside_the_region(make_pair):
    image, labels = make_pair((16, 16, 64))
    region = Box((0, 0, 0), (16, 16, 40), (8, 8, 8))
    settings = config()
    (source,) = prepare([(image, labels)], settings, regions=[region])
    place = Box((0, 0, 30), (16, 16, 46), (8, 8, 8))
    pixels, ids, valid = read_for(source, place, AugmentPlan(Crop((16, 16, 16), (8, 8, 8))))
    assert pixels.shape == (16, 16, 16)
    assert valid[..., :10].all()
    assert not valid[..., 10:].any()
    assert not ids[..., 10:].any()
    draws = Sampler((source,), (16, 16, 16), AffinityTargets.of(NEAREST, settings, (8, 8, 8)), settings, 0)
    assert all(region.contains(draws._place(0, np.random.default_rng(i))) for i in range(50))


def test_margin_beyond_the_volume_is_reflected_and_not_known(make_pair):
    image, labels = make_pair((12, 12, 12), side=3)
    (source,) = prepare([(image, labels)], config())
    plan = AugmentPlan(Crop((12, 12, 12), (8, 8, 8)), (Rescale((0.75, 0.75, 0.75)),))
    assert plan.image_halo == ((2, 2),) * 3
    pixels, ids, valid = read_for(source, image.box, plan)
    whole = source.normaliser(image.numpy())
    np.testing.assert_array_equal(pixels, np.pad(whole, 2, mode="reflect"))
    np.testing.assert_array_equal(valid, np.pad(np.ones((12, 12, 12), bool), 2))
    np.testing.assert_array_equal(ids, np.pad(labels.numpy(), 2))


def test_margin_is_read_where_the_volume_has_it(make_pair):
    image, labels = make_pair((20, 20, 20))
    (source,) = prepare([(image, labels)], config())
    plan = AugmentPlan(Crop((12, 12, 12), (8, 8, 8)), (Rescale((0.75, 0.75, 0.75)),))
    pixels, ids, valid = read_for(source, Box((4, 4, 4), (16, 16, 16), (8, 8, 8)), plan)
    np.testing.assert_array_equal(pixels, source.normaliser(image.read(Box((2, 2, 2), (18, 18, 18), (8, 8, 8)))))
    assert valid.all()
    assert (ids > 0).all()


@pytest.mark.parametrize("flip", [False, True])
def test_label_context_makes_border_edges_known(make_pair, flip):
    image, labels = make_pair((60, 60, 60))
    moves = PLAIN.model_copy(update={"flip": flip, "rotate90": flip})
    region = Box((10, 10, 10), (50, 50, 50), (8, 8, 8))
    inside = sampler([(image, labels)], config(augment=moves), (38, 38, 38), LONG, regions=[region])
    # of 40 voxels, 38 are the crop: only up to 2 of the 6 voxels of context are there
    assert not all(inside(i)["valid"].all() for i in range(8))
    wide = sampler([(image, labels)], config(augment=moves), (16, 16, 16), LONG)
    known = [wide(i)["valid"].mean() for i in range(30)]
    assert max(known) == 1
    narrow = sampler([(image, labels)], config(augment=moves, label_context=False), (16, 16, 16), LONG)
    assert all(narrow(i)["valid"][3].mean() == pytest.approx(10 / 16) for i in range(3))


def test_zero_is_membrane_or_not_annotated(make_pair):
    image, labels = make_pair((24, 24, 24))
    array = labels.numpy()
    array[:, :, ::4] = 0
    pair = (image, Volume(array, (8, 8, 8), kind="labels"))
    truth = sampler([pair], config(label_context=False))(0)
    assert truth["valid"][2][:, :, 1:].all()
    ignored = sampler([pair], config(label_context=False, zero_label="ignore"))(0)
    assert ignored["valid"][2].mean() == pytest.approx(0.5, abs=0.07)
    lazy = sampler([pair], config(label_context=False, zero_label="ignore", cache_gb=0))(0)
    np.testing.assert_array_equal(lazy["valid"], ignored["valid"])


def test_cremi_ignore_values_are_not_known(make_pair):
    image, labels = make_pair((24, 24, 24))
    array = labels.numpy()
    array[:, :12] = 2**64 - 1
    draws = sampler([(image, Volume(array, (8, 8, 8), kind="labels"))], config(min_labelled=0.4))
    assert any(0 < draws(i)["valid"].mean() < 1 for i in range(5))


@pytest.mark.parametrize(("voxel_size", "zeros_along_z"), [((8, 8, 8), True), ((40, 4, 4), False)])
def test_borders_are_widened_in_the_plane_of_sections(make_pair, voxel_size, zeros_along_z):
    image, labels = make_pair((24, 24, 24), voxel_size, side=6)
    plain = sampler([(image, labels)], config())(0)["affinities"]
    wide = sampler([(image, labels)], config(widen_border=1))(0)["affinities"]
    assert wide[1].mean() < plain[1].mean() - 0.1
    columns = grey(sampler([(image, labels)], config())(0))
    inner = (columns[:, 1:-1] == columns[:, :-2]) & (columns[:, 1:-1] == columns[:, 2:])
    inner = inner[:, :, 1:-1] & (columns[:, 1:-1, 1:-1] == columns[:, 1:-1, :-2])
    inner &= columns[:, 1:-1, 1:-1] == columns[:, 1:-1, 2:]
    crossing = inner[1:] & inner[:-1] & plain[0][1:, 1:-1, 1:-1].astype(bool)
    lost = crossing & (wide[0][1:, 1:-1, 1:-1] == 0)
    assert lost.any() == zeros_along_z


@pytest.mark.parametrize(("axis", "shape"), [("z", (9, 20, 30)), ("y", (10, 18, 30)), ("auto", (10, 20, 27))])
def test_the_validation_slab_is_the_far_end(axis, shape):
    box = Box((5, 0, 0), (15, 20, 30), (8, 8, 8))
    train, held = split_region(box, DataConfig(validation=0.1, validation_axis=axis))
    assert train.shape == shape
    assert train.start == box.start
    assert held.stop == box.stop
    assert train.size + held.size == box.size
    assert train.intersected(held).size == 0


def test_no_validation_no_slab():
    box = Box((0, 0, 0), (10, 20, 30), (8, 8, 8))
    assert split_region(box, DataConfig(validation=0)) == (box, None)


def test_given_normalisers_are_used(make_pair):
    from neuropil.data.normalise import Normaliser

    image, labels = make_pair()
    draws = sampler([(image, labels)], config(), normalisers=[Normaliser("percentile", 0, 1000)])
    assert draws(0)["image"].max() < 0.3


def test_no_volumes():
    with pytest.raises(InputError, match="at least one image"):
        prepare([], config())


def test_volume_smaller_than_the_crop(make_pair):
    with pytest.raises(InputError, match=r"shape \(12, 44, 48\) for crops of \(16, 16, 16\)"):
        sampler([make_pair((12, 44, 48))], config())


def test_different_voxel_sizes(make_pair):
    with pytest.raises(GeometryError, match="one voxel size for all"):
        prepare([make_pair(), make_pair(voxel_size=(16, 8, 8))], config())
    assert len(prepare([make_pair(), make_pair(voxel_size=(8.0001, 8, 8))], config())) == 2


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_empty_labels(make_pair, cache_gb):
    image, labels = make_pair()
    empty = Volume(np.zeros(labels.shape, np.uint64), (8, 8, 8), kind="labels")
    with pytest.raises(InputError, match="hold no object"):
        prepare([(image, empty)], config(cache_gb=cache_gb))


def test_labels_as_image_and_image_as_labels(make_pair):
    image, labels = make_pair()
    with pytest.raises(InputError, match="holds labels"):
        prepare([(labels, labels)], config())
    with pytest.raises(InputError, match="holds image"):
        prepare([(image, image)], config())


def test_channels_are_refused(make_pair):
    image, labels = make_pair()
    stack = Volume(np.stack([image.numpy()] * 2), (8, 8, 8), axes="czyx", kind="image")
    with pytest.raises(InputError, match="axes 'zyx' for training"):
        prepare([(stack, labels)], config())


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_nan_is_refused_even_where_normalisation_did_not_look(make_pair, cache_gb):
    from neuropil.data.normalise import Normaliser

    image, labels = make_pair((16, 16, 16))
    array = image.numpy().astype(np.float32)
    array[3, 3, 3] = np.nan
    pair = (Volume(array, (8, 8, 8), kind="image"), labels)
    with pytest.raises(InputError, match="NaN"):
        sampler([pair], config(cache_gb=cache_gb), normalisers=[Normaliser("percentile", 0, 255)])(0)
