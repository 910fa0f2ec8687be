import pytest
from pydantic import ValidationError

from neuropil.config.trees import MorphologyConfig, TreeScoreConfig


def test_defaults_are_those_of_the_field():
    config = TreeScoreConfig()
    assert (config.convention, config.tolerance, config.sweep) == ("vaa3d", 2.0, tuple(range(1, 11)))


@pytest.mark.parametrize(
    "wrong",
    [{"tolerance": 0}, {"convention": "v3d"}, {"sweep": ()}, {"sweep": (2, 1)}, {"sweep": (1, 1)}, {"tau": 2}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        TreeScoreConfig(**wrong)


def test_spheres_have_a_distance():
    with pytest.raises(ValidationError):
        MorphologyConfig(sholl_step=0)
