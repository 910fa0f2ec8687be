"""Models whose tensors are named as those of a known family, and which compute something else.

What a network does between its weights (rotary positions, norms before or after a branch, the exact or the approximate
GELU) leaves no tensor. Published models of timm are told apart here by which tensors there are and by their sizes, and
those that `neuropil.models.vit2d.PlanarViT` does not compute are refused. Their layouts stand in
tests/unit/models/checkpoints2d/test_lookalikes.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from neuropil.errors import RunError

#: The one width of EVA models that have a table of positions, norms before every branch, and nothing else.
_EVA_GIANT = 1408
_ELSE = "take a model that is read exactly: docs/methods/vit_inflation.md lists them"
_DEIT3 = (
    "of DeiT III, load the file with timm and save that state dict, which calls them ls1.gamma; RoPE-ViT and others "
    "with rotary positions of their own cannot be inflated"
)


def named_gains(names: Iterable[str]) -> bool:
    """Whether gains are called as timm's class `Eva` calls them, of which DINOv3 is one."""
    return any(".gamma_1" in name for name in names)


def refuse_lookalikes(names: Iterable[str], known: Mapping[str, Tensor], where: str) -> None:
    """Refuse what is known to compute something else than its names promise.

    Parameters
    ----------
    names
        As the file has them.
    known
        Its tensors by the names of `names.renamed`.
    where
        The file, in words.

    Raises
    ------
    RunError
        If the tensors are those of such a model, or of several of which one is such.
    """
    if named_gains(names) and "periods" not in known:
        _check_dinov3(known, where)
    elif "blocks.0.qkv.weight" in known and "table" in known and "patch.weight" in known:
        _check_eva(known, where)
        if not {"cls", "registers"} & known.keys() and "blocks.0.ls1.gamma" not in known:
            _check_post_norm(known, where)
            _check_siglip(known, where)


def several_heads(known: Mapping[str, Tensor], family: str) -> str:
    """Why the width does not tell the number of heads, where models of one width and one layout differ; else ""."""
    width, patch = len(known["patch.weight"]), known["patch.weight"].shape[-1]
    if family == "timm" and width == 64:
        return "timm's own of that width (test_vit) have 2, where others have 1"
    bare = not {"cls", "registers"} & known.keys() and "blocks.0.qkv.weight" in known
    if bare and "table" in known and "blocks.0.ls1.gamma" not in known and (width, patch) == (768, 16):
        return "without a class token timm has models of 12 (vit_base_patch16_siglip_gap) and of 16 (..._gap_224)"
    return ""


def _check_dinov3(known: Mapping[str, Tensor], where: str) -> None:
    # timm's RoPE-ViT turns other angles, and with a table it is named as DeiT III, which turns none
    lacks = [what for name, what in (("cls", "class token"), ("registers", "registers")) if name not in known]
    if "table" in known or lacks:
        odd = "a table of positions" if "table" in known else f"no {' and no '.join(lacks)}"
        raise RunError(
            f"{where} calls its gains gamma_1 and has {odd}: RoPE-ViT, DeiT III and others are named so, and no tensor "
            "tells which it is",
            "with gamma_1 a DINOv3 as timm saves it: class token, registers, and no table of positions",
            _DEIT3,
        )


def _check_eva(known: Mapping[str, Tensor], where: str) -> None:
    # EVA-02 is gated and rotary in its small sizes, and has its norms after each branch in the largest
    first, last = (known.get(f"blocks.0.{name}.weight") for name in ("fc1", "fc2"))
    plain = first is not None and last is not None and len(first) == last.shape[1]
    width = len(known["patch.weight"])
    if "blocks.0.q.bias" in known and not (plain and width == _EVA_GIANT):
        raise RunError(
            f"{where} has q_bias and v_bias at width {width}, with {'a plain' if plain else 'a gated'} MLP, as EVA-02, "
            "whose rotary positions or norms after each branch no tensor tells",
            f"with q_bias and a table of positions an EVA of width {_EVA_GIANT}, whose MLP is plain",
            _ELSE,
        )


def _check_post_norm(known: Mapping[str, Tensor], where: str) -> None:
    if "blocks.0.qkv.bias" not in known and "blocks.0.q.bias" not in known:
        raise RunError(
            f"{where} has neither class token, registers, gains nor biases of queries, keys and values, as "
            "vit_base_patch16_rpn_224 of timm, whose norms come after each branch",
            "norms before each branch",
            _ELSE,
        )


def _check_siglip(known: Mapping[str, Tensor], where: str) -> None:
    width, patch = len(known["patch.weight"]), known["patch.weight"].shape[-1]
    side = math.isqrt(known["table"].numel() // max(1, width))
    if width == 1536 or (width, patch) in {(768, 32), (1152, 16)} or (width, patch, side) == (1024, 16, 32):
        raise RunError(
            f"{where} has no class token, width {width}, patches of {patch} and {side} x {side} places, as a SigLIP "
            "whose activation is an approximation of GELU",
            "the exact GELU",
            _ELSE,
        )
