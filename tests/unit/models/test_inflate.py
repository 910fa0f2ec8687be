"""What inflation promises: sections add up, and the 3-D transformer answers what the 2-D one answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from neuropil.config import InflateConfig, ModelConfig, ViTConfig
from neuropil.errors import ConfigError, RunError
from neuropil.models import build_model
from neuropil.models.checkpoints2d import ViT2d, read_vit2d
from neuropil.models.inflate import (
    InflateReport,
    depth_profile,
    grey_kernel,
    inflate,
    inflated_kernel,
    plan_inflated,
    resized_kernel,
)
from neuropil.models.vit2d import Planar, PlanarViT
from neuropil.models.vit_inflated import InflatedViT

TABLE: dict[str, Any] = {"dim": 24, "depth": 2, "heads": 2, "hidden": 48, "patch": (4, 4), "grid": (3, 3)}
SOURCES: dict[str, dict[str, Any]] = {
    "table": TABLE,
    "registers": {**TABLE, "prefix": 5, "layer_scale": True},
    "rotary": {**TABLE, "grid": None, "prefix": 5, "layer_scale": True, "mlp": "swiglu", "eps": 1e-5},
    "no prefix": {**TABLE, "prefix": 0},
    "grey": {**TABLE, "channels": 1},
}
KINDS = ("center", "average", "gaussian")
#: In the shape of the three sources of colours: the mean and spread that networks were trained with.
MEAN, STD = InflateConfig().mean, InflateConfig().std


def source_of(path: Path, name: str = "table") -> ViT2d:
    torch.manual_seed(1)
    net = PlanarViT(Planar(**SOURCES[name]))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    torch.save(net.published(), path / "x.pth")
    return read_vit2d(path / "x.pth", heads=2)


def seen(source: ViT2d, grey_BYX: Tensor) -> Tensor:
    """Tokens of patches that the 2-D transformer makes of grey values 0..1, coloured and normalised as it expects."""
    if source.shape.channels == 1:
        image = grey_BYX[:, None]
    else:
        mean, std = (torch.tensor(v)[None, :, None, None] for v in (MEAN, STD))
        image = (grey_BYX[:, None].expand(-1, 3, -1, -1) - mean) / std
    with torch.no_grad():
        out: Tensor = source.network()(image)[:, source.shape.prefix :]
    return out


def inflated(source: ViT2d, patch: tuple[int, int, int], **how: Any) -> tuple[InflatedViT, InflateReport]:
    config = InflateConfig(**how)
    target = plan_inflated(source, config, patch, None)
    tensors, report = inflate(source, target, config)
    encoder = InflatedViT(target, (8.0, 8.0, 8.0)).eval()
    encoder.load_state_dict(tensors)
    return encoder, report


def tokens(encoder: InflatedViT, x_BZYX: Tensor) -> Tensor:
    with torch.no_grad():
        return encoder.encode(x_BZYX[:, None])


def grey(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2))


# --- one patch deep: what the encoder answers is what the image network answers


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("size", [(12, 12), (8, 20)], ids=str)
def test_center_is_the_image_network_on_the_middle_section(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    source = source_of(tmp_path, name)
    x = grey(2, 5, *size)
    encoder, _ = inflated(source, (5, 4, 4), depth="center")
    assert torch.allclose(tokens(encoder, x), seen(source, x[:, 2]), atol=2e-5)
    assert not torch.allclose(tokens(encoder, x), seen(source, x[:, 1]), atol=1e-2)


@pytest.mark.parametrize("name", SOURCES)
def test_average_is_the_image_network_on_the_mean_of_sections(name: str, tmp_path: Path) -> None:
    source = source_of(tmp_path, name)
    x = grey(2, 4, 12, 12)
    encoder, _ = inflated(source, (4, 4, 4), depth="average")
    assert torch.allclose(tokens(encoder, x), seen(source, x.mean(1)), atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_section_is_the_image_network(kind: str, tmp_path: Path) -> None:
    source = source_of(tmp_path)
    x = grey(2, 1, 12, 12)
    encoder, _ = inflated(source, (1, 4, 4), depth=kind)
    assert torch.allclose(tokens(encoder, x), seen(source, x[:, 0]), atol=2e-5)


def test_gaussian_is_the_image_network_on_its_weighted_mean(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    x = grey(1, 5, 12, 12)
    encoder, _ = inflated(source, (5, 4, 4), depth="gaussian", sigma=0.8)
    weights = torch.exp(-0.5 * (torch.arange(-2.0, 3) / 0.8) ** 2)
    mean = (x * (weights / weights.sum())[None, :, None, None]).sum(1)
    assert torch.allclose(tokens(encoder, x), seen(source, mean), atol=2e-5)


# --- several patches deep


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_sections_are_answered_as_one_whatever_the_depth(name: str, kind: str, tmp_path: Path) -> None:
    source = source_of(tmp_path, name)
    image = grey(2, 12, 12)
    encoder, _ = inflated(source, (2, 4, 4), depth=kind, mode="cube")
    found = tokens(encoder, image[:, None].expand(-1, 6, -1, -1)).unflatten(1, (3, 9))
    for slab in range(3):
        assert torch.allclose(found[:, slab], seen(source, image), atol=5e-5)


@pytest.mark.parametrize("name", ["table", "rotary"])
def test_without_the_correction_they_are_not(name: str, tmp_path: Path) -> None:
    source = source_of(tmp_path, name)
    encoder, _ = inflated(source, (2, 4, 4), mode="cube")
    encoder._even_prefix = False
    image = grey(1, 12, 12)
    found = tokens(encoder, image[:, None].expand(-1, 6, -1, -1))
    assert (found[:, :9] - seen(source, image)).abs().max() > 1e-3


# --- kernels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sections", [1, 2, 3, 5, 8])
def test_kernels_add_up_over_sections(kind: str, sections: int) -> None:
    kernel = torch.randn(6, 3, 4, 5)
    spread = inflated_kernel(kernel, sections, kind)
    assert spread.shape == (6, 3, sections, 4, 5)
    assert torch.allclose(spread.sum(2), kernel, atol=1e-6)
    assert torch.equal(spread, spread.flip(2))


def test_profiles_go_from_one_section_to_all() -> None:
    assert depth_profile(5, "center").tolist() == [0, 0, 1, 0, 0]
    assert depth_profile(4, "average").tolist() == [0.25] * 4
    narrow, wide = (depth_profile(5, "gaussian", sigma) for sigma in (0.05, 100.0))
    assert torch.allclose(narrow, depth_profile(5, "center"), atol=1e-6)
    assert torch.allclose(wide, depth_profile(5, "average"), atol=1e-3)
    middle = depth_profile(5, "gaussian")
    assert middle[0] < middle[1] < middle[2]


def test_a_grey_kernel_answers_grey_values_as_the_colours_did() -> None:
    kernel, bias = torch.randn(7, 3, 4, 4), torch.randn(7)
    grey_values = torch.rand(2, 1, 8, 8)
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (MEAN, STD))
    expected = F.conv2d((grey_values.expand(-1, 3, -1, -1) - mean) / std, kernel, bias, stride=4)
    assert torch.allclose(F.conv2d(grey_values, *grey_kernel(kernel, bias, MEAN, STD), stride=4), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(6, 6), (8, 12), (5, 4)])
def test_a_larger_patch_is_answered_exactly_as_the_patch_it_was_resized_from(size: tuple[int, int]) -> None:
    """The resizing is that of torch, two-dimensional: an oracle that knows nothing of matrices or pseudo-inverses."""
    kernel, patches = torch.randn(6, 3, 4, 4), torch.randn(9, 3, 4, 4)
    resized = F.interpolate(patches, size=size, mode="bicubic", antialias=True)
    expected = torch.einsum("ncyx,ocyx->no", patches, kernel)
    found = torch.einsum("ncyx,ocyx->no", resized, resized_kernel(kernel, size))
    assert torch.allclose(found, expected, atol=1e-4)


def test_a_smaller_patch_is_answered_as_well_as_any_kernel_can() -> None:
    """Ordinary least squares over white patches finds the same kernel."""
    kernel = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    # all unit patches: the mean over white noise, without its noise
    patches = torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)
    small = F.interpolate(patches, size=(4, 4), mode="bicubic", antialias=True).flatten(1)
    answers = torch.einsum("ncyx,ocyx->no", patches, kernel)
    best = torch.linalg.lstsq(small, answers).solution.view(1, 1, 4, 4)
    assert torch.allclose(resized_kernel(kernel.float(), (4, 4)), best.float(), atol=1e-5)


def test_a_patch_of_another_size_is_resized_before_it_is_inflated(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    encoder, report = inflated(source, (3, 8, 8))
    small = grey(1, 12, 12)
    # patch by patch: an image resized as a whole would mix neighbours
    large = torch.cat(
        [
            torch.cat([_resized(small[:, y : y + 4, x : x + 4]) for x in range(0, 12, 4)], dim=2)
            for y in range(0, 12, 4)
        ],
        dim=1,
    )
    found = tokens(encoder, large[:, None].expand(-1, 3, -1, -1))
    assert torch.allclose(found, seen(source, small), atol=5e-5)
    assert "resized in the plane to 8 x 8" in report.changed["patch_embed.proj.weight"]


def _resized(patch_BYX: Tensor) -> Tensor:
    return F.interpolate(patch_BYX[:, None], size=(8, 8), mode="bicubic", antialias=True)[:, 0]


# --- plan and account


def test_the_plan_says_what_the_file_says(tmp_path: Path) -> None:
    target = plan_inflated(source_of(tmp_path, "rotary"), InflateConfig(), None, None)
    assert (target.dim, target.depth, target.heads, target.mlp, target.eps) == (24, 2, 2, "swiglu", 1e-5)
    assert (target.patch, target.prefix_tokens, target.layer_scale) == ((5, 4, 4), 5, 1.0)
    assert (target.inflated.positions, target.inflated.table[0]) == ("rope", 1)
    assert target.mlp_ratio * target.dim == pytest.approx(48)


@pytest.mark.parametrize(("nm", "deep"), [((4, 4, 4), 4), ((40, 4, 4), 1), ((8, 4, 4), 2), ((1, 16, 16), 16)])
def test_depth_of_a_cube_covers_as_much_tissue_as_its_width(
    nm: tuple[float, float, float], deep: int, tmp_path: Path
) -> None:
    target = plan_inflated(source_of(tmp_path), InflateConfig(mode="cube"), None, nm)
    assert (target.patch, target.inflated.table) == ((deep, 4, 4), (8, 3, 3))


def test_a_cube_without_a_depth_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--patch"):
        plan_inflated(source_of(tmp_path), InflateConfig(mode="cube"), None, None)


def test_every_tensor_is_accounted_for_once(tmp_path: Path) -> None:
    source = source_of(tmp_path, "registers")
    encoder, report = inflated(source, (5, 4, 4))
    told = [*report.copied, *report.changed, *report.new, *report.missing]
    assert sorted(told) == sorted(encoder.state_dict())
    assert (set(report.changed), set(report.new), report.missing, report.share) == (
        {"patch_embed.proj.weight", "patch_embed.proj.bias"},
        {"depth_embed"},
        (),
        1.0,
    )
    assert report.summary()["copied"] == list(report.copied)
    assert torch.count_nonzero(encoder.depth_embed) == 0
    assert all(torch.equal(encoder.state_dict()[n], source.tensors[n]) for n in report.copied)


def test_fewer_blocks_are_dropped_by_name_and_more_are_refused(tmp_path: Path) -> None:
    source, config = source_of(tmp_path), InflateConfig()
    target = plan_inflated(source, config, (5, 4, 4), None)
    _, report = inflate(source, target.model_copy(update={"depth": 1}), config)
    assert set(report.dropped) == {n for n in source.tensors if n.startswith("blocks.1.")}
    assert any("blocks.1." in line for line in report.lines())
    for changes in ({"depth": 4}, {"dim": 48}):
        with pytest.raises(RunError, match=r"of the encoder that was asked for[\s\S]*at least 95%"):
            inflate(source, target.model_copy(update=changes), config)
    loose = InflateConfig(floor=0.4)
    _, report = inflate(source, target.model_copy(update={"depth": 4}), loose)
    assert report.missing
    assert "missing: " in report.lines()[-1]


def test_what_no_shape_tells_is_not_taken_from_the_user(tmp_path: Path) -> None:
    source, config = source_of(tmp_path), InflateConfig()
    target = plan_inflated(source, config, (5, 4, 4), None)
    with pytest.raises(ConfigError, match=r"model\.vit\.heads = 3 [\s\S]*expected: 2[\s\S]*inflate\.heads"):
        inflate(source, target.model_copy(update={"heads": 3}), config)
    turning = target.inflated.model_copy(update={"positions": "rope"})
    with pytest.raises(ConfigError, match=r"inflated\.positions = rope [\s\S]*table"):
        inflate(source, target.model_copy(update={"inflated": turning}), config)


def test_a_table_of_another_shape_is_told(tmp_path: Path) -> None:
    source, config = source_of(tmp_path), InflateConfig(floor=0.5)
    target = plan_inflated(source, config, (5, 4, 4), None)
    other = target.inflated.model_copy(update={"table": (1, 2, 2)})
    _, report = inflate(source, target.model_copy(update={"inflated": other}), config)
    assert report.missing == tuple(report.dropped) == ("pos_embed",)


def test_a_target_needs_a_patch(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.vit\.patch is empty"):
        inflate(source_of(tmp_path), ViTConfig(dim=24, heads=2), InflateConfig())


@pytest.mark.parametrize("name", ["table", "rotary"])
def test_unetr_runs_on_an_inflated_encoder_and_all_of_it_learns(name: str, tmp_path: Path) -> None:
    source, config = source_of(tmp_path, name), InflateConfig(mode="cube")
    target = plan_inflated(source, config, (2, 4, 4), None)
    model = ModelConfig(name="unetr", encoder="vit_inflated", vit=target.model_copy(update={"decoder": (8, 8)}))
    net = build_model(model, (16, 8, 8), 3)
    tensors, _ = inflate(source, target, config)
    net.encoder.load_state_dict(tensors)
    x = torch.rand(2, 1, 4, 16, 24)
    y = net(x)
    assert y.shape == (2, 3, 4, 16, 24)
    y.square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_unetr_refuses_an_encoder_that_is_no_transformer() -> None:
    with pytest.raises(ConfigError, match=r"model\.encoder = resunet in unetr"):
        build_model(ModelConfig(name="unetr", encoder="resunet"), (8, 8, 8), 3)
