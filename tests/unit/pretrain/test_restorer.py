"""A network without skips: every level is there, all that learns is handed on, and what does not learn is not."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from neuropil.config import Config, load_config
from neuropil.errors import ConfigError
from neuropil.models import build_model
from neuropil.pretrain.restorer import Restorer, build_restorer

SMALL = (
    "model.vit.dim=24",
    "model.vit.depth=2",
    "model.vit.heads=2",
    "model.vit.decoder=[8,8,16,16]",
    "model.channels=[8,16,24]",
)
SIZES = [(8.0, 8.0, 8.0), (40.0, 4.0, 4.0)]


def _config(name: str, *words: str) -> Config:
    return load_config("multiscale", [*SMALL, f"model.name={name}", *words])


@pytest.mark.parametrize("voxel_size", SIZES)
@pytest.mark.parametrize("name", ["resunet", "unetr"])
def test_a_pyramid_runs_from_the_coarsest_features_to_full_resolution(
    name: str, voxel_size: tuple[float, float, float]
) -> None:
    network = build_restorer(_config(name), voxel_size)
    image = torch.rand(2, 1, *(2 * p for p in network.patch))
    maps, restored = network(image, voxel_size)
    assert [m.shape[1] for m, _ in maps] == list(network.channels)
    assert maps[0][1] == network.patch
    assert maps[-1][1] == (1, 1, 1)
    for m, stride in maps:
        assert tuple(m.shape[2:]) == tuple(n // s for n, s in zip(image.shape[2:], stride, strict=True))
    assert all(a[1] >= b[1] and a[1] != b[1] for a, b in itertools.pairwise(maps))
    assert restored is not None
    assert restored.shape == image.shape
    assert bool(((restored > 0) & (restored < 1)).all())
    assert network.features(image, voxel_size).shape == (2, 8, network.channels[0])


@pytest.mark.parametrize("name", ["resunet", "unetr"])
def test_nothing_goes_around_the_coarsest_features(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_restorer(_config(name), SIZES[0])
    blind = torch.zeros(1, network.channels[0], 2, 2, 2)
    monkeypatch.setattr(network, "coarsest", lambda image, voxel_size: blind)
    first, second = (network(torch.rand(1, 1, 16, 16, 16), SIZES[0])[1] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("restores", [True, False])
@pytest.mark.parametrize("name", ["resunet", "unetr"])
def test_what_learns_is_what_is_handed_on(name: str, restores: bool) -> None:
    network = build_restorer(_config(name, f"pretrain.multiscale.reconstruction={float(restores)}"), SIZES[0])
    maps, restored = network(torch.rand(1, 1, 16, 16, 16), SIZES[0])
    assert (restored is not None) == restores
    total: Tensor = sum((m.square().sum() for m, _ in maps), start=torch.zeros(()))
    (total if restored is None else total + restored.sum()).backward()
    touched = {n for n, p in network.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert touched == {n for n, p in network.named_parameters() if p.requires_grad}
    given = network.exported(network.state_dict())
    assert {f"network.{n}" for n in given} == touched
    full = build_model(_config(name).model, SIZES[0], 1)
    own = full.state_dict()
    assert all(own[n].shape == t.shape for n, t in given.items())
    assert full.encoder_names() <= set(given)  # type: ignore[operator]
    assert ("head.weight" in given) == restores
    # without skips a U-Net lacks nothing; a transformer lacks only what reads early tokens and the image
    lacking = {n.partition(".")[0] for n in set(own) - set(given)} - {"head"}
    assert lacking == (set() if name == "resunet" else {"tap_norms", "tap_ups", "stem", "half_res"})


def test_climbing_with_skips_is_the_network_itself() -> None:
    network = build_model(_config("resunet").model, SIZES[0], 3)
    image = torch.rand(1, 1, 16, 16, 16)
    features = [[t] for t, _ in network.pyramid(image)]  # type: ignore[operator]
    (coarsest,) = features.pop()
    *_, last = network.climb(coarsest, features)  # type: ignore[operator]
    assert torch.equal(network.head(last), network(image))  # type: ignore[operator]
    assert not torch.equal(network.head(last), network.head([*network.climb(coarsest, [])][-1]))  # type: ignore[operator]


def test_a_transformer_is_told_the_voxel_size_of_the_crop() -> None:
    network = build_restorer(_config("unetr"), SIZES[0])
    image = torch.rand(1, 1, 16, 16, 16)
    one, other = (network.coarsest(image, size) for size in ((8.0, 8.0, 8.0), (16.0, 8.0, 8.0)))
    assert not torch.equal(one, other)


def test_a_network_that_cannot_climb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuropil.pretrain.restorer.build_model", lambda *_: nn.Identity())
    with pytest.raises(ConfigError, match="a network with `climb`"):
        build_restorer(_config("resunet"), SIZES[0])


def test_biases_and_norms_do_not_decay() -> None:
    network: Restorer = build_restorer(_config("unetr"), SIZES[0])
    names = dict(network.named_parameters())
    assert network.no_decay() <= set(names)
    assert {n for n, p in names.items() if p.ndim == 1} <= network.no_decay()


@pytest.mark.parametrize("name", ["resunet", "unetr"])
def test_restoring_is_felt_below_the_head_from_the_first_step(name: str) -> None:
    """The head of a network of affinities begins near zero: grey values would be flat, and nothing below would learn."""
    torch.manual_seed(0)
    network = build_restorer(_config(name), SIZES[0])
    with torch.no_grad():
        maps, restored = network(torch.rand(4, 1, 16, 16, 16), SIZES[0])
    assert restored is not None
    finest = maps[-1][0]
    assert float(torch.logit(restored).std()) > 0.2 * float(finest.square().mean().sqrt())
