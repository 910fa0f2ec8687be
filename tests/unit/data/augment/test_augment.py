"""`draw` and `apply` as a whole."""

import json
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from neuropil.config import AugmentConfig
from neuropil.data.augment import AugmentPlan, apply, draw
from neuropil.data.augment.base import Crop
from neuropil.data.augment.geometry import Elastic, Slip
from neuropil.errors import ConfigError, InputError

SHAPE, SECTIONS = (12, 32, 32), (40.0, 4.0, 4.0)
DEFECTS = {"Slip", "Shift", "Missing", "LowContrast", "Defocus"}
EVERYTHING = AugmentConfig(
    **dict.fromkeys(("elastic", "rotate", "rescale", "slip", "shift", "missing_section", "low_contrast_section"), 1),
    **dict.fromkeys(("blur", "defocus_section", "cut_blur", "noise", "intensity", "intensity_section"), 1),
)
NOTHING = AugmentConfig(
    flip=False,
    rotate90=False,
    **dict.fromkeys(("elastic", "slip", "shift", "missing_section", "low_contrast_section", "blur"), 0),
    **dict.fromkeys(("defocus_section", "noise", "intensity", "intensity_section"), 0),
)


def arrays(plan, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [[n + a + b for n, (a, b) in zip(SHAPE, h, strict=True)] for h in (plan.image_halo, plan.label_halo)]
    image = rng.random(shapes[0], dtype=np.float32)
    return image, rng.integers(1, 9, shapes[1]).astype(np.uint32), rng.random(shapes[1]) < 0.9


def draws(config, number, voxel_size=SECTIONS):
    return [draw(config, np.random.default_rng(i), SHAPE, voxel_size) for i in range(number)]


def names(plan):
    return {type(op).__name__ for op in plan.ops}


def test_same_generator_same_plan():
    assert draws(EVERYTHING, 5) == draws(EVERYTHING, 5)
    assert len({repr(p) for p in draws(EVERYTHING, 5)}) == 5


def test_a_plan_survives_pickling_and_becomes_json():
    (plan,) = draws(EVERYTHING, 1)
    again = pickle.loads(pickle.dumps(plan))
    assert again == plan
    for a, b in zip(apply(plan, *arrays(plan)), apply(again, *arrays(plan)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert {op["op"] for op in json.loads(json.dumps(plan.as_dict()))["ops"]} == names(plan)


def test_at_most_one_kind_of_section_defect():
    seen = [names(plan) & DEFECTS for plan in draws(EVERYTHING, 60)]
    assert all(len(kinds) == 1 for kinds in seen)
    assert set.union(*seen) == DEFECTS


def test_isotropic_volumes_have_no_sections():
    seen = set.union(*(names(plan) for plan in draws(EVERYTHING, 10, (8.0, 8.0, 8.0))))
    assert not seen & (DEFECTS | {"SectionIntensity"})
    assert {"Elastic", "Rotate", "Rescale", "Noise", "Blur", "CutBlur", "Intensity"} <= seen


def test_nothing_drawn_nothing_changed():
    (plan,) = draws(NOTHING, 1)
    assert plan.ops == ()
    given = arrays(plan)
    for a, b in zip(apply(plan, *given), given, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.shares_memory(a, b)


def test_inputs_are_left_alone():
    (plan,) = draws(EVERYTHING, 1)
    given = arrays(plan)
    copies = [a.copy() for a in given]
    apply(plan, *given)
    for a, b in zip(given, copies, strict=True):
        np.testing.assert_array_equal(a, b)


def test_flips_alone_are_not_resampled(monkeypatch):
    monkeypatch.setattr("neuropil.data.augment.resample", lambda *_: pytest.fail("resampled"))
    config = NOTHING.model_copy(update={"flip": True, "rotate90": True})
    for plan in draws(config, 5):
        assert plan.image_halo == ((0, 0),) * 3
        image, *_ = given = arrays(plan)
        assert sorted(apply(plan, *given)[0].ravel()) == sorted(image.ravel())


def test_arrays_of_another_shape_are_refused():
    (plan,) = draws(EVERYTHING, 1)
    image, labels, valid = arrays(plan)
    with pytest.raises(InputError, match="image of shape"):
        apply(plan, image[1:], labels, valid)
    with pytest.raises(InputError, match="valid of shape"):
        apply(plan, image, labels, valid[:, 1:])


def test_two_lattices_are_refused():
    elastic = Elastic((4.0, 8.0, 8.0), (0.0, 1.0, 1.0), 3)
    with pytest.raises(ConfigError, match="one warp with a lattice"):
        AugmentPlan(Crop(SHAPE, SECTIONS), (elastic, elastic)).image_halo  # noqa: B018


def test_an_augmentation_of_someone_else_takes_part(monkeypatch):
    monkeypatch.setitem(sys.modules, "someone_elses", SimpleNamespace(upside_down=upside_down))
    config = NOTHING.model_copy(update={"extra": ("someone_elses:upside_down",)})
    (plan,) = draws(config, 1)
    assert plan.ops == (Slip(0, (1, 0)),)


def upside_down(config, rng, crop):
    return Slip(0, (1, 0))


def test_ranges_must_be_ordered():
    from neuropil.config import parse_config

    with pytest.raises(ConfigError, match="lower end first"):
        parse_config({"data": {"augment": {"gamma": [2.0, 0.5]}}})
