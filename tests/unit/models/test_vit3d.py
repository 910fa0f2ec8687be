"""The transformer: patches from the voxel size, places in nm, and tokens that see only what is kept."""

from __future__ import annotations

import pytest
import torch

from neuropil.config import ViTConfig
from neuropil.errors import InputError
from neuropil.models.vit3d import ViT3d, plan_patch

SMALL = {"dim": 24, "depth": 3, "heads": 2, "patch": (2, 4, 4)}
NM = (40.0, 4.0, 4.0)


def small(**changes: object) -> ViT3d:
    torch.manual_seed(0)
    return ViT3d(ViTConfig(**{**SMALL, **changes}), NM).eval()


@pytest.mark.parametrize(
    ("voxel_size", "patch"),
    [
        ((8, 8, 8), (8, 8, 8)),
        ((40, 4, 4), (4, 16, 16)),
        ((30, 6, 6), (2, 16, 16)),
        ((10, 10, 10), (8, 8, 8)),
        ((4, 4, 4), (16, 16, 16)),
        ((2, 2, 2), (16, 16, 16)),
        ((16, 16, 16), (8, 8, 8)),
        ((16, 8, 8), (4, 8, 8)),
        ((8, 8, 16), (8, 8, 4)),
        ((40, 8, 8), (4, 8, 8)),
        ((50, 4, 4), (2, 16, 16)),
        ((1000, 300, 300), (2, 8, 8)),
        ((1000, 4, 4), (1, 16, 16)),
    ],
)
def test_patch_follows_the_voxel_size(voxel_size: tuple[float, float, float], patch: tuple[int, int, int]) -> None:
    assert plan_patch(voxel_size) == patch
    assert ViT3d(ViTConfig(dim=12, depth=1, heads=1), voxel_size).patch == patch


def test_patch_turns_with_the_axes() -> None:
    assert plan_patch((4, 40, 4)) == (16, 4, 16)
    assert plan_patch((6, 6, 30)) == (16, 16, 2)


def test_embedding_is_a_strided_convolution() -> None:
    vit = small()
    x = torch.randn(2, 1, 4, 8, 12)
    kernel = vit.patch_embed.proj.weight.view(24, 1, 2, 4, 4)
    expected = torch.nn.functional.conv3d(x, kernel, vit.patch_embed.proj.bias, stride=(2, 4, 4))
    tokens = vit.shallow(x, 0) - vit.positions((2, 2, 3))
    assert torch.allclose(tokens, expected.flatten(2).transpose(1, 2), atol=1e-5)


def test_a_place_has_one_code_whatever_voxels_tokens_and_crop() -> None:
    one = ViT3d(ViTConfig(dim=24, depth=1, heads=1, patch=(8, 8, 8)), (8, 8, 8))
    finer_voxels = ViT3d(ViTConfig(dim=24, depth=1, heads=1, patch=(16, 16, 16)), (4, 4, 4))
    flat_voxels = ViT3d(ViTConfig(dim=24, depth=1, heads=1, patch=(2, 8, 8)), (32, 8, 8))
    codes = one.positions((3, 4, 5))
    for other in (finer_voxels, flat_voxels):
        assert torch.allclose(other.positions((3, 4, 5)), codes, atol=1e-5)
    # a larger crop that begins at the same corner
    assert torch.allclose(one.positions((6, 7, 8)).view(6, 7, 8, 24)[:3, :4, :5].flatten(0, 2), codes, atol=1e-5)
    # tokens three times as large: the centre of the first is that of the second small one
    large = ViT3d(ViTConfig(dim=24, depth=1, heads=1, patch=(24, 24, 24)), (8, 8, 8))
    assert torch.allclose(large.positions((1, 1, 1))[0], one.positions((2, 2, 2))[-1], atol=1e-5)


def test_every_place_of_a_large_crop_has_its_own_code() -> None:
    codes = ViT3d(ViTConfig(), (8, 8, 8)).positions((12, 12, 12))
    apart = torch.cdist(codes, codes) + 9 * torch.eye(len(codes))
    assert float(apart.min()) > 0.5


def test_keeping_all_is_the_same_bits_as_no_mask() -> None:
    vit = small(prefix_tokens=2)
    x = torch.randn(2, 1, 4, 8, 12)
    assert torch.equal(vit.encode(x, torch.arange(12).expand(2, -1)), vit.encode(x))


def test_order_of_kept_tokens_is_the_order_of_the_result() -> None:
    vit = small()
    x = torch.randn(2, 1, 4, 8, 12)
    keep = torch.stack([torch.randperm(12)[:5] for _ in range(2)])
    shuffled = torch.tensor([3, 0, 4, 1, 2])
    assert torch.allclose(vit.encode(x, keep)[:, shuffled], vit.encode(x, keep[:, shuffled]), atol=1e-5)


def test_kept_tokens_never_see_the_others() -> None:
    vit = small(prefix_tokens=1)
    x = torch.randn(1, 1, 4, 8, 12).requires_grad_()
    keep = torch.tensor([[0, 7]])
    vit.encode(x, keep).square().sum().backward()
    assert x.grad is not None
    seen = torch.nn.functional.max_pool3d(x.grad.abs(), (2, 4, 4)).flatten() > 0
    assert seen.nonzero().flatten().tolist() == [0, 7]


def test_only_kept_tokens_are_computed() -> None:
    vit = small()
    rows: list[int] = []
    vit.patch_embed.proj.register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[1]))
    vit.blocks[0].mlp.fc1.register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[1]))
    vit.encode(torch.randn(1, 1, 4, 8, 12), torch.tensor([[1, 2, 5]]))
    assert rows == [3, 3]


def test_taps_are_what_the_blocks_give_in_turn() -> None:
    vit = small()
    x = torch.randn(1, 1, 4, 8, 12)
    first, last = vit.taps(x, (1, 3))
    assert torch.equal(last, vit.encode(x))
    assert torch.equal(first, vit.blocks[0](vit.shallow(x, 0)))


def test_shallow_stops_where_it_is_told() -> None:
    vit = small(prefix_tokens=1)
    x = torch.randn(1, 1, 4, 8, 12)
    assert torch.equal(vit.shallow(x, 2), vit.taps(x, (2,))[0])
    assert torch.equal(vit.norm(vit.shallow(x, 3)), vit.encode(x))
    vit.blocks[2].register_forward_pre_hook(lambda *_: pytest.fail("a later block was computed"))
    vit.shallow(x, 2)


def test_crops_of_other_voxels_are_placed_by_their_own() -> None:
    vit, x = small(), torch.randn(1, 1, 4, 8, 12)
    other = (20.0, 8.0, 8.0)
    there = ViT3d(ViTConfig(**SMALL), other).eval()
    there.load_state_dict(vit.state_dict())
    assert torch.equal(vit.positions((2, 2, 3), other), there.positions((2, 2, 3)))
    assert torch.equal(vit.encode(x, voxel_size=other), there.encode(x))
    assert torch.equal(vit.shallow(x, 1, voxel_size=other), there.shallow(x, 1))
    assert not torch.allclose(vit.encode(x, voxel_size=other), vit.encode(x), atol=1e-4)


def test_tokens_without_a_place_take_part_but_are_not_returned() -> None:
    x = torch.randn(2, 1, 4, 8, 12)
    vit = small(prefix_tokens=3)
    before = vit.encode(x)
    assert before.shape == (2, 12, 24)
    with torch.no_grad():
        vit.prefix_tokens.normal_()
    assert not torch.allclose(vit.encode(x), before, atol=1e-4)


def test_chance_to_drop_grows_linearly_from_zero() -> None:
    vit = small(depth=5, drop_path=0.4)
    assert [block.drop_path.chance for block in vit.blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert small(depth=1, drop_path=0.4).blocks[0].drop_path.chance == 0


@pytest.mark.parametrize("drop_path", [0.0, 0.5])
def test_computing_twice_gives_the_same_gradients(drop_path: float) -> None:
    x = torch.randn(4, 1, 4, 8, 12)
    gradients = []
    for checkpointing in (False, True):
        vit = small(checkpointing=checkpointing, drop_path=drop_path, prefix_tokens=1).train()
        torch.manual_seed(5)
        vit.encode(x).square().mean().backward()
        gradients.append([p.grad for p in vit.parameters()])
    for plain, again in zip(*gradients, strict=True):
        assert torch.allclose(plain, again, atol=1e-7)
        assert plain.abs().sum() > 0 or drop_path


def test_checkpointing_holds_less_between_the_passes() -> None:
    x = torch.randn(1, 1, 4, 8, 12)
    held = []
    for checkpointing in (False, True):
        count = 0

        def seen(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += tensor.numel()
            return tensor

        vit = small(checkpointing=checkpointing).train()
        with torch.autograd.graph.saved_tensors_hooks(seen, lambda t: t):
            vit.encode(x)
        held.append(count)
    assert held[1] < held[0] / 2


def test_layers_and_decay() -> None:
    vit = small(prefix_tokens=2, layer_scale=0.1)
    layers = {name: vit.layer_of(name) for name in vit.state_dict()}
    assert layers["patch_embed.proj.weight"] == layers["prefix_tokens"] == 0
    assert layers["blocks.0.attn.qkv.bias"] == 1
    assert layers["blocks.2.ls2.gamma"] == 3
    assert layers["norm.weight"] == vit.layers == 4
    decayed = set(dict(vit.named_parameters())) - vit.no_decay()
    assert decayed == {n for n in layers if n.endswith(("proj.weight", "qkv.weight", "fc1.weight", "fc2.weight"))}


@pytest.mark.parametrize("shape", [(3, 8, 8), (4, 8, 10), (0, 8, 8), (1, 4, 4)])
def test_crops_that_are_no_whole_patches_are_refused(shape: tuple[int, int, int]) -> None:
    vit = small()
    with pytest.raises(InputError, match=r"multiples of the patch \(2, 4, 4\)"):
        vit.grid(shape)
    with pytest.raises(InputError, match="multiples of the patch"):
        vit.encode(torch.zeros(1, 1, *shape))


@pytest.mark.parametrize(
    "keep",
    [torch.zeros(1, 3), torch.zeros(3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64)],
    ids=["float", "flat", "batch"],
)
def test_other_kinds_of_keep_are_refused(keep: torch.Tensor) -> None:
    with pytest.raises(InputError, match="int64 numbers of patches"):
        small().encode(torch.zeros(1, 1, 4, 8, 12), keep)


@pytest.mark.parametrize("blocks", [(0, 3), (4,)])
def test_taps_of_no_block_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="numbers from 1 to 3"):
        small().taps(torch.zeros(1, 1, 4, 8, 12), blocks)
