"""Layouts of timm's models by hand: what computes something else under known names is refused, the rest is read.

Names and shapes are those of timm 1.0.31, of two blocks. Which of them give timm's outputs was measured once with timm
(diff 0 for every model that is read here); the tests need no timm.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from neuropil.errors import RunError
from neuropil.models.checkpoints2d import read_vit2d

State = dict[str, Tensor]

NORMS = "norm1.weight D; norm1.bias D; norm2.weight D; norm2.bias D"
QKV = "attn.qkv.weight 3D,D; attn.qkv.bias 3D; attn.proj.weight D,D; attn.proj.bias D"
QKV_SPLIT = "attn.q_bias D; attn.v_bias D; attn.qkv.weight 3D,D; attn.proj.weight D,D; attn.proj.bias D"
QKV_BARE = "attn.qkv.weight 3D,D; attn.proj.weight D,D; attn.proj.bias D"
MLP = "mlp.fc1.weight H,D; mlp.fc1.bias H; mlp.fc2.weight D,H; mlp.fc2.bias D"
MLP_PACKED = "mlp.fc1.weight 2H,D; mlp.fc1.bias 2H; mlp.fc2.weight D,H; mlp.fc2.bias D"
MLP_GATED = (
    "mlp.fc1_g.weight H,D; mlp.fc1_g.bias H; mlp.fc1_x.weight H,D; mlp.fc1_x.bias H; mlp.fc2.weight D,H; mlp.fc2.bias D"
)
GAMMA = "gamma_1 D; gamma_2 D"
LS = "ls1.gamma D; ls2.gamma D"
CLS = "cls_token 1,1,D"
REG = "reg_token 1,4,D"
TABLE = "pos_embed 1,N+1,D"
TABLE_OF_PATCHES = "pos_embed 1,N,D"
NORM = "norm.weight D; norm.bias D; head.weight 10,D; head.bias 10"
HEADLESS = "norm.weight D; norm.bias D"
FC_NORM = "fc_norm.weight D; fc_norm.bias D; head.weight 10,D; head.bias 10"


def layout(top: list[str], block: list[str], *, width: int, hidden: int, patch: int = 16, side: int = 14) -> State:
    """A state dict of two blocks; zeros that take no memory."""
    sizes = {"D": width, "2H": 2 * hidden, "3D": 3 * width, "H": hidden, "N": side * side, "N+1": side * side + 1}
    lines = [*top, f"patch_embed.proj.weight D,3,{patch},{patch}; patch_embed.proj.bias D"]
    lines += [f"blocks.{n}.{part}" for n in range(2) for line in block for part in line.split("; ")]
    found = {}
    for part in (p for line in lines for p in line.split("; ")):
        name, shape = part.split()
        whole = [sizes[s] if s in sizes else int(s) for s in shape.split(",")]
        found[name] = torch.zeros(1).expand(whole)
    return found


def saved(state: State, tmp_path: Path) -> Path:
    torch.save(state, tmp_path / "x.pth")
    return tmp_path / "x.pth"


REFUSED: dict[str, tuple[State, str]] = {
    "vit_small_patch16_rope_224": (
        layout([CLS, NORM], [GAMMA, NORMS, QKV, MLP], width=384, hidden=1536),
        "gamma_1 and has no registers: RoPE-ViT",
    ),
    "vit_small_patch16_rope_ape_224, and DeiT III as its authors name it": (
        layout([CLS, TABLE_OF_PATCHES, NORM], [GAMMA, NORMS, QKV, MLP], width=384, hidden=1536),
        "gamma_1 and has a table of positions[\\s\\S]*of DeiT III, load the file with timm",
    ),
    "vit_medium_patch16_rope_reg1_gap_256": (
        layout(["reg_token 1,1,D", FC_NORM], [GAMMA, NORMS, QKV_SPLIT, MLP], width=512, hidden=2048, side=16),
        "gamma_1 and has no class token: RoPE-ViT",
    ),
    "eva02_tiny_patch14_224": (
        layout([CLS, TABLE, FC_NORM], [NORMS, QKV_SPLIT, MLP_PACKED], width=192, hidden=512, patch=14, side=16),
        "width 192, with a gated MLP, as EVA-02",
    ),
    "eva02_enormous_patch14_clip_224": (
        layout([CLS, TABLE, NORM], [NORMS, QKV_SPLIT, MLP], width=1792, hidden=15360, patch=14, side=16),
        "width 1792, with a plain MLP, as EVA-02",
    ),
    "vit_base_patch16_rpn_224": (
        layout([TABLE_OF_PATCHES, FC_NORM], [NORMS, QKV_BARE, MLP], width=768, hidden=3072),
        "vit_base_patch16_rpn_224 of timm, whose norms come after each branch",
    ),
    "vit_base_patch32_siglip_gap_256": (
        layout([TABLE_OF_PATCHES, HEADLESS], [NORMS, QKV, MLP], width=768, hidden=3072, patch=32, side=8),
        "as a SigLIP whose activation",
    ),
    "vit_large_patch16_siglip_gap_512": (
        layout([TABLE_OF_PATCHES, HEADLESS], [NORMS, QKV, MLP], width=1024, hidden=4096, side=32),
        "as a SigLIP whose activation",
    ),
    "vit_so400m_patch16_siglip_gap_256": (
        layout([TABLE_OF_PATCHES, HEADLESS], [NORMS, QKV, MLP], width=1152, hidden=4304, side=16),
        "as a SigLIP whose activation",
    ),
    "vit_giantopt_patch16_siglip_gap_256": (
        layout([TABLE_OF_PATCHES, HEADLESS], [NORMS, QKV, MLP], width=1536, hidden=6144, side=16),
        "as a SigLIP whose activation",
    ),
    "vit_base_patch16_siglip_224": (
        layout([TABLE_OF_PATCHES, HEADLESS, "attn_pool.latent 1,1,D"], [NORMS, QKV, MLP], width=768, hidden=3072),
        r"unknown tensors: attn_pool\.latent",
    ),
    "eva02_base_patch14_224": (
        layout([CLS, TABLE, FC_NORM], [NORMS, MLP_GATED, "attn.q_proj.weight D,D"], width=768, hidden=2048),
        r"unknown tensors: blocks\.0\.attn\.q_proj\.weight",
    ),
    "beit_base_patch16_224": (
        layout([CLS], [GAMMA, NORMS, QKV_SPLIT, MLP, "attn.relative_position_bias_table 732,12"], width=768, hidden=9),
        r"unknown tensors: blocks\.0\.attn\.relative_position_bias_table",
    ),
    "vit_pe_spatial_base_patch16_512": (
        layout([CLS, TABLE, "norm_pre.weight D"], [GAMMA, NORMS, QKV, MLP], width=768, hidden=3072, side=32),
        r"unknown tensors: norm_pre\.weight",
    ),
    "vit_small_patch16_18x2_224": (
        layout([CLS, TABLE, NORM], ["attns.0.norm.weight D", "attns.0.attn.qkv.weight 3D,D"], width=384, hidden=1536),
        r"unknown tensors: blocks\.0\.attns\.0",
    ),
    "vit_dlittle_patch16_reg1_gap_256": (
        layout([REG, TABLE_OF_PATCHES, NORM], [NORMS, QKV, MLP, "attn.lambda_q1 32"], width=320, hidden=1792),
        r"unknown tensors: blocks\.0\.attn\.lambda_q1",
    ),
    "vit_base_patch16_xp_224": (
        layout([CLS, TABLE_OF_PATCHES], ["in_norm.weight D", "mlp_bias H"], width=768, hidden=3072),
        r"unknown tensors: blocks\.0\.in_norm",
    ),
    "cait_xxs24_224": (
        layout(
            [CLS, TABLE_OF_PATCHES, NORM], [GAMMA, NORMS, QKV, MLP, "attn.proj_l.weight 4,4"], width=192, hidden=768
        ),
        r"unknown tensors: blocks\.0\.attn\.proj_l",
    ),
    "beit3_base_patch16_224": (
        layout([CLS, TABLE, FC_NORM], [NORMS, QKV, MLP, "attn.norm.weight D"], width=768, hidden=3072),
        r"unknown tensors: blocks\.0\.attn\.norm",
    ),
    "vit_intern300m_patch14_448": (
        layout([CLS, TABLE], [LS, NORMS, QKV, MLP], width=1024, hidden=4096, patch=14, side=32),
        r"lacks 'norm\.weight'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("heads", [None, 4])
def test_what_computes_something_else_is_refused(name: str, heads: int | None, tmp_path: Path) -> None:
    state, words = REFUSED[name]
    with pytest.raises(RunError, match=words) as caught:
        read_vit2d(saved(state, tmp_path), heads=heads)
    assert caught.value.expected
    assert caught.value.fix


READ: dict[str, tuple[State, str, int]] = {
    "vit_small_patch16_dinov3": (
        layout([CLS, REG, NORM], [GAMMA, NORMS, QKV_BARE, MLP], width=384, hidden=1536),
        "timm DINOv3",
        6,
    ),
    "vit_small_plus_patch16_dinov3_qkvb": (
        layout([CLS, REG, NORM], [GAMMA, NORMS, QKV_SPLIT, MLP_GATED], width=384, hidden=1536),
        "timm DINOv3",
        6,
    ),
    "deit3_small_patch16_224": (
        layout([CLS, TABLE_OF_PATCHES, NORM], [LS, NORMS, QKV, MLP], width=384, hidden=1536),
        "timm",
        6,
    ),
    "eva_giant_patch14_224": (
        layout([CLS, TABLE, FC_NORM], [NORMS, QKV_SPLIT, MLP], width=1408, hidden=6144, patch=14, side=16),
        "timm",
        16,
    ),
    "vit_medium_patch16_gap_256": (
        layout([TABLE_OF_PATCHES, NORM], [LS, NORMS, QKV_BARE, MLP], width=512, hidden=2048, side=16),
        "timm",
        8,
    ),
    "vit_base_patch16_224_miil": (
        layout([CLS, TABLE, NORM], [NORMS, QKV_BARE, MLP], width=768, hidden=3072),
        "timm",
        12,
    ),
    "vit_so400m_patch14_siglip_gap_224": (
        layout([TABLE_OF_PATCHES, HEADLESS], [NORMS, QKV, MLP], width=1152, hidden=4304, patch=14, side=16),
        "DINO",
        16,
    ),
    "vit_so400m_patch14_reg1_tipsv2": (
        layout([CLS, REG, TABLE_OF_PATCHES, NORM], [LS, NORMS, QKV, MLP], width=1152, hidden=4304, patch=14, side=16),
        "timm",
        16,
    ),
    "vit_large_patch16_siglip_gap_384": (
        layout([TABLE_OF_PATCHES, HEADLESS], [NORMS, QKV, MLP], width=1024, hidden=4096, side=24),
        "DINO",
        16,
    ),
}


@pytest.mark.parametrize("name", READ)
def test_their_neighbours_are_read(name: str, tmp_path: Path) -> None:
    state, family, heads = READ[name]
    read = read_vit2d(saved(state, tmp_path))
    assert (read.family, read.shape.heads, read.shape.depth) == (family, heads, 2)
    assert read.shape.eps == (1e-5 if "DINOv3" in family else 1e-6)


def test_heads_are_asked_for_where_models_of_one_width_differ(tmp_path: Path) -> None:
    """vit_base_patch16_siglip_gap_224 has 12 heads, vit_base_patch16_gap_224 has 16, and all their tensors are alike."""
    path = saved(layout([TABLE_OF_PATCHES, NORM], [NORMS, QKV, MLP], width=768, hidden=3072), tmp_path)
    with pytest.raises(RunError, match=r"models of 12 [\s\S]*and of 16[\s\S]*inflate.heads=N"):
        read_vit2d(path)
    assert read_vit2d(path, heads=16).shape.heads == 16


def test_heads_of_the_narrowest_models_of_timm_are_asked_for(tmp_path: Path) -> None:
    """test_vit has 2 heads at width 64."""
    path = saved(layout([CLS, TABLE, NORM], [NORMS, QKV, MLP], width=64, hidden=192, side=10), tmp_path)
    with pytest.raises(RunError, match=r"timm model of width 64 is not known: [\s\S]*inflate.heads=N"):
        read_vit2d(path)
    assert read_vit2d(path, heads=2).shape.heads == 2
