"""Multiscale consistency as an objective: each term can be switched off alone, and what it is judged by."""

from __future__ import annotations

import copy

import pytest
import torch

from neuropil.config import load_config
from neuropil.errors import ConfigError
from neuropil.pretrain.consistency import comparisons, contrast, info_nce
from neuropil.pretrain.matching import Matching
from neuropil.pretrain.multiscale import Multiscale
from neuropil.pretrain.tokens import PlaceTokens
from neuropil.pretrain.two_views import TwoViewsValidator, matched_share
from neuropil.pretrain.views import views_of
from neuropil.registry import PRETEXTS
from neuropil.training.optimise import make_optimisers

SMALL = (
    "model.vit.dim=24",
    "model.vit.depth=2",
    "model.vit.heads=2",
    "model.vit.decoder=[8,8,16]",
    "model.channels=[8,16]",
    "pretrain.multiscale.dim=16",
    "pretrain.multiscale.channel_grid=[4,4,4]",
    "train.batch=2",
)
SIZE = (8.0, 8.0, 8.0)
KEY = "pretrain.multiscale."
ARMS = {
    "reconstruction_only": (["contrast=0", "cross=0"], {"reconstruction"}),
    "plus_contrast": (["cross=0"], {"reconstruction", "contrast"}),
    "plus_cross": (["contrast=0"], {"reconstruction", "cross"}),
    "all": ([], {"reconstruction", "contrast", "cross"}),
    "contrast_only": (["reconstruction=0", "cross=0"], {"contrast"}),
    "features": (["contrast=0", "cross=0", "feature_mse=1"], {"reconstruction", "feature_mse"}),
}


def _objective(name: str = "resunet", *words: str) -> Multiscale:
    config = load_config("multiscale", [*SMALL, f"model.name={name}", *(KEY + w for w in words)])
    torch.manual_seed(0)
    made: Multiscale = PRETEXTS.resolve("multiscale")(config, SIZE)
    return made


def _batch(crops: int = 2, *, alike: bool = False) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.avg_pool3d(torch.rand(crops, 1, 16, 16, 16, generator=generator), 3, 1, 1)
    noise = 0.0 if alike else 0.1 * torch.randn(image.shape, generator=generator)
    strong = (image + noise).clone()
    if not alike:
        strong[..., 4:12, 4:12, 4:12] = 0
    return {"image": image, "weak": image.clone(), "strong": strong, "voxel_size": torch.full((crops, 3), 8.0)}


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("name", ["resunet", "unetr"])
def test_each_control_switches_off_exactly_its_terms(name: str, arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words, expected = ARMS[arm]
    objective = _objective(name, *words)
    if "cross" not in expected:
        assert objective.matching.attention is None
    if not {"cross", "contrast"} & expected:
        assert list(objective.matching.parameters()) == []
        monkeypatch.setattr("neuropil.pretrain.matching.contrast", None)  # not called
    loss = objective(_batch())["network"]
    terms = {n.removeprefix("loss_"): v for n, v in objective.after_update(1, 1).items()}
    assert set(terms) == expected
    own = objective._own
    assert float(loss.detach()) == pytest.approx(sum(getattr(own, n) * v for n, v in terms.items()), rel=1e-5)
    loss.backward()
    taught = {id(p) for group in make_optimisers(objective.groups(), objective._config.train)["network"].param_groups
              for p in group["params"]}  # fmt: skip
    for parameter_name, parameter in objective.named_parameters():
        # all that is in the optimiser gets a gradient, and the other way round
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert reached == (id(parameter) in taught), parameter_name


def test_the_reconstruction_of_all_arms_is_the_same_number() -> None:
    found = []
    for words, _ in (ARMS["reconstruction_only"], ARMS["all"], ARMS["plus_cross"]):
        objective = _objective("resunet", *words)
        objective(_batch())
        found.append(objective.after_update(1, 1)["loss_reconstruction"])
    assert found[0] == found[1] == found[2]


def test_identical_views_cost_less_than_different_ones() -> None:
    objective = _objective("resunet", "feature_mse=1", "centre=false")
    terms = []
    for alike in (True, False):
        objective(_batch(alike=alike))
        terms.append(objective.after_update(1, 1))
    assert terms[0]["loss_feature_mse"] == 0 < terms[1]["loss_feature_mse"]
    assert terms[0]["loss_contrast"] < terms[1]["loss_contrast"]


def test_an_answer_among_those_that_asked_needs_no_likeness_of_the_views() -> None:
    """Why cross_target is "other": with "own" the loss falls for views that have nothing to do with one another."""
    found = {}
    for target in ("own", "other"):
        torch.manual_seed(0)
        config = load_config("multiscale", [*SMALL, f"{KEY}cross_target={target}", f"{KEY}contrast=0"])
        matching = Matching([12], config)
        optimiser = torch.optim.Adam(matching.parameters(), lr=5e-3)
        for _ in range(60):
            views = [[(torch.randn(2, 12, 4, 4, 4), (2, 2, 2))] for _ in range(2)]
            loss = matching(*views)["cross"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found[target] = float(loss.detach())
    chance = torch.log(torch.tensor(128.0))
    assert found["own"] < 0.5 * chance
    assert found["other"] > 0.9 * chance


@pytest.mark.parametrize("loss", ["published", "infonce"])
def test_channels_can_be_matched_as_in_the_paper(loss: str) -> None:
    objective = _objective("resunet", "token=channel", f"loss={loss}", "restore=mse", "cross_target=own")
    objective(_batch())["network"].backward()
    assert objective.matching.attention is not None
    assert objective.matching.attention.embed_dim == 64
    maps, _ = objective.kept(_batch()["weak"], SIZE)
    tokens = objective.matching.tokens(maps)  # type: ignore[misc]
    assert tokens.shape == (2, 16 + 8, 64)
    if loss == "infonce":
        same = objective.matching._sets(maps)
        assert [len(s.index_N) for s in same] == [32, 16]
        assert all(bool(s.apart_NN.all()) for s in same)
        a = tokens.flatten(0, 1)[:16]
        assert torch.isfinite(info_nce(a, a, torch.ones(16, 16, dtype=torch.bool), 0.1)).all()


@pytest.mark.parametrize("negatives", ["same_level", "same_sample", "batch"])
def test_all_kinds_of_negatives_teach(negatives: str) -> None:
    objective = _objective("resunet", f"negatives={negatives}")
    objective(_batch())["network"].backward()
    assert objective.after_update(1, 1)["loss_contrast"] > 0


def test_one_crop_cannot_be_centred_against_others() -> None:
    config = load_config("multiscale", [*SMALL, "train.batch=1"])
    with pytest.raises(ConfigError, match="at least two crops"):
        PRETEXTS.resolve("multiscale")(config, SIZE)
    PRETEXTS.resolve("multiscale")(load_config("multiscale", [*SMALL, "train.batch=1", f"{KEY}centre=false"]), SIZE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reconstruction=0", "contrast=0", "cross=0"], "at least one of reconstruction"),
        (["dim=10", "heads=4"], "multiple of heads"),
        (["token=channel", "channel_grid=[3,3,3]"], "multiple of heads"),
    ],
)
def test_settings_that_cannot_be_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("multiscale", [KEY + w for w in words])


def test_views_are_the_named_sets_without_changes_of_place() -> None:
    views = views_of(load_config("multiscale", [f"{KEY}weak=standard"]))
    assert list(views) == ["weak", "strong"]
    assert (views["weak"].set, views["strong"].set) == ("standard", "strong")
    assert views["strong"].cut_out == 1
    assert not any(v.flip or v.rotate90 or v.elastic or v.slip for v in views.values())


def test_a_validation_says_how_views_are_restored_and_matched() -> None:
    objective = _objective("resunet")
    crops = [_batch(1) for _ in range(3)]
    labelled = [{**_batch(1), "cut": torch.rand(1, 512)} for _ in range(4)]
    validator = objective.validator(crops, labelled)
    assert isinstance(validator, TwoViewsValidator)
    found = validator(objective.kept.eval())
    restored = (found["restored_weak"] + found["restored_strong"]) / 2
    assert found["score"] == pytest.approx(restored + 1 - found["matched"], abs=2e-6)
    alone = _objective("resunet", "contrast=0", "cross=0").validator(crops, [])(objective.kept.eval())
    assert alone["score"] == pytest.approx(restored, abs=2e-6)
    assert found["restored_weak"] == pytest.approx(1, abs=1.5)
    assert validator(objective.kept.eval()) == found
    assert "probe" in found
    # nothing restored: judged by what is found again
    other = _objective("resunet", "reconstruction=0")
    judged = other.validator(crops, [])(other.kept.eval())
    assert judged["score"] == pytest.approx(1 - judged["matched"], abs=1e-6)
    assert "restored_weak" not in judged


def test_the_share_of_matched_cells() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(4, 10, 6, generator=generator)
    place = torch.randn(1, 10, 6, generator=generator)
    assert matched_share([a], [2 * a + place]) == 1
    swapped = a.clone()
    swapped[:, [0, 1]] = a[:, [1, 0]]
    assert matched_share([a, a], [swapped, a]) == pytest.approx((0.8 + 1) / 2)


def test_pictures_show_both_views_and_both_answers() -> None:
    objective = _objective("resunet").eval()
    batch = _batch(1)
    pictures = dict(objective.look(batch).pictures)
    assert list(pictures) == ["image", "weak view", "strong view", "restored from weak", "restored from strong"]
    assert pictures["strong view"][6, 6] == 0 != pictures["image"][6, 6]
    assert all(p.shape == (16, 16) for p in pictures.values())
    assert "restored from weak" not in dict(_objective("resunet", "reconstruction=0").look(batch).pictures)


def test_state_beside_the_parameters_is_none() -> None:
    objective = _objective()
    before = copy.deepcopy(objective.state_dict())
    objective.load_extra_state(*objective.extra_state())
    objective.judged({"score": 1.0})
    assert objective.extra_state() == ({}, {})
    assert all(torch.equal(before[n], t) for n, t in objective.state_dict().items())
    assert objective.no_decay() <= {n for n, _ in objective.named_parameters()}


def test_position_codes_give_no_answer_once_places_are_centred() -> None:
    """Views of unrelated tissue: a transformer learns to find places by their codes, unless these are taken away."""
    network = _objective("unetr").kept
    found = {}
    for centre in (False, True):
        torch.manual_seed(0)
        tokens = PlaceTokens(network.channels[:1], 16, (4, 4, 4), centre=centre)
        optimiser = torch.optim.Adam(tokens.parameters(), lr=0.02)
        for _ in range(60):
            with torch.no_grad():
                views = [[(network.coarsest(torch.rand(4, 1, 32, 32, 32), SIZE), (8, 8, 8))] for _ in range(2)]
            sets = comparisons(tokens.layout(views[0]), 4, "same_sample")
            loss = contrast(tokens(views[0]), tokens(views[1]), sets, 0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found[centre] = float(loss.detach())
        chance = float(torch.log(sets[0].apart_NN.float().sum(1)).mean())
    assert found[False] < 0.5 * chance
    assert found[True] > 0.9 * chance
