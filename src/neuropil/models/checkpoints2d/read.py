"""`read_vit2d`: a 2-D vision transformer from a file, its sizes read from names and shapes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neuropil.errors import RunError, listed
from neuropil.models.checkpoints2d.files import WeightFile, open_weights
from neuropil.models.checkpoints2d.lookalikes import named_gains, refuse_lookalikes, several_heads
from neuropil.models.checkpoints2d.names import renamed
from neuropil.models.fitting import misfits
from neuropil.models.vit2d import Planar, PlanarViT
from neuropil.models.vit_inflated import rope_periods

#: Width → heads, of published models whose heads are not 64 wide.
_HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16}
_ROPE_HEADS = {4096: 32}
_HEAD_DIM = 64
#: Base of rotary wavelengths of DINOv3.
_THETA = 100.0
_NARROWEST = 12
_ENDS = ("weight", "bias")
#: What layers of an MLP are called by `names`.
_MLP = ("fc1", "fc2", "gate", "up", "w12", "w3")


@dataclass(frozen=True)
class ViT2d:
    """A 2-D vision transformer that was read.

    Attributes
    ----------
    path
        The file.
    family
        Whose model it is, or by whose names.
    shape
        Its sizes.
    tensors
        float32 state of `neuropil.models.vit2d.PlanarViT`.
    heads_from
        How the number of heads is known.
    dropped
        Names of the file that were left out, and why.
    supplied
        Names of `tensors` that the file has not, or not wholly, and what they are.
    notes
        What else a user should know.
    """

    path: Path
    family: str
    shape: Planar
    tensors: dict[str, Tensor]
    heads_from: str
    dropped: dict[str, str]
    supplied: dict[str, str]
    notes: tuple[str, ...]

    def network(self) -> PlanarViT:
        """The 2-D transformer itself, in evaluation mode."""
        with torch.device("meta"):
            network = PlanarViT(self.shape)
        network.load_state_dict(self.tensors, assign=True)
        return network.eval()


def read_vit2d(path: str | os.PathLike[str] | WeightFile, *, heads: int | None = None) -> ViT2d:
    """Read a 2-D vision transformer from a local file.

    Parameters
    ----------
    path
        `.safetensors`, `.pth`, `.pt`, or a folder as Hugging Face makes them, whose `config.json` is believed; or what
        `open_weights` made of it.
    heads
        Attention heads, where neither file nor family says them: no shape depends on them.

    Raises
    ------
    RunError
        If the file cannot be opened safely, or is not exactly one of the families that are known.
    """
    file = path if isinstance(path, WeightFile) else open_weights(Path(path))
    where = f"'{file.path}'"
    known, dropped = renamed(file.tensors, where)
    refuse_lookalikes(file.tensors, known, where)
    notes = [f"left in the file: {', '.join(file.others[:6])}"] if file.others else []
    pooled = {n.removeprefix("pooled_"): t for n, t in known.items() if n.startswith("pooled_")}
    if pooled and "norm.weight" in known:
        dropped |= {f"fc_{name}": "norm after pooling" for name in pooled}
    elif pooled:
        known |= pooled
        notes.append("it pools before its last norm: here that norm is of every token")
    family = _family(file, known, dropped)
    config = _config(file, known, family)
    depth = 1 + max((int(n.split(".")[1]) for n in known if n.startswith("blocks.")), default=-1)
    dim = len(_of(known, "patch.weight", where))
    count, heads_from = _heads(known, config, family, dim, heads)
    _check_heads(known, dim, count, f"{where}: {count} heads ({heads_from})")
    tensors, supplied = _blocks(known, dim, depth, where)
    theta = float(config.get("rope_theta", _THETA))
    grid = _embedding(known, tensors, family, (dim // count, theta), where)
    if grid is None and "periods" not in known:
        supplied["rope_periods"] = f"computed for the base {theta:g}"
    shape = _shape(tensors, grid, depth, count, float(config.get("layer_norm_eps", _eps(family))), where)
    _check(shape, tensors, where)
    return ViT2d(file.path, family, shape, tensors, heads_from, dropped, supplied, tuple(notes))


def _family(file: WeightFile, known: Mapping[str, Tensor], dropped: Mapping[str, str]) -> str:
    names = list(file.tensors)

    def some(part: str) -> bool:
        return any(part in name for name in names)

    if some("embeddings.patch_embeddings"):
        kind = "DINOv3" if "table" not in known else "DINOv2" if some("layer_scale1") else "ViT"
        return f"Hugging Face {kind}"
    if some("conv_proj.weight"):
        return "torchvision"
    if "periods" in known or some("storage_tokens"):
        return "DINOv3"
    if named_gains(names):
        return "timm DINOv3"
    if some("ls1.gamma"):
        return "DINOv2" if some("mask_token") else "timm"
    if "decoder" in dropped.values():
        return "MAE"
    if file.entry.startswith("teacher"):
        return "DINO"
    if some("reg_token") or some("fc_norm") or some("head."):
        return "timm"
    return "MAE" if file.entry == "model." else "DINO"


def _config(file: WeightFile, known: Mapping[str, Tensor], family: str) -> dict[str, Any]:
    """What the `config.json` beside a file of Hugging Face says, checked; empty for others."""
    if not family.startswith("Hugging Face") or "hidden_size" not in file.config:
        return {}
    config = dict(file.config)
    width = len(_of(known, "patch.weight", f"'{file.path}'"))
    if config["hidden_size"] != width:
        raise RunError(
            f"'{file.path.with_name('config.json')}' says width {config['hidden_size']}, the weights {width}",
            "the config.json of these very weights",
        )
    gated = family.endswith("DINOv3") and any(".gate." in name for name in known)
    act = config.get("hidden_act", "gelu")
    if not config.get("use_swiglu_ffn") and act not in ({"silu"} if gated else {"gelu"}):
        raise RunError(f"'{file.path}' has the activation {act}", "silu in gated layers, gelu in plain ones")
    nested = config.get("rope_parameters")
    if isinstance(nested, Mapping) and "rope_theta" in nested:
        config["rope_theta"] = nested["rope_theta"]
    return config


def _heads(
    known: Mapping[str, Tensor], config: Mapping[str, Any], family: str, dim: int, said: int | None
) -> tuple[int, str]:
    if said is not None:
        return said, "as you said"
    if "num_attention_heads" in config:
        return int(config["num_attention_heads"]), "from its config.json"
    if "periods" in known:
        return max(1, dim // (4 * len(known["periods"]))), "from its rotary periods"
    if why := several_heads(known, family):
        raise RunError(
            f"the number of heads of a {family} model of width {dim} is not known: {why}",
            "a width and layout that only one number of heads goes with",
            "say it: --set inflate.heads=N",
        )
    table = _ROPE_HEADS if "DINOv3" in family else {} if family == "DINOv2" else _HEADS
    if dim in table:
        return table[dim], f"as {family} models of width {dim} have"
    if dim % _HEAD_DIM:
        raise RunError(
            f"the number of heads of a {family} model of width {dim} is not known",
            f"a width in {_HEAD_DIM}s, whose heads are {_HEAD_DIM} wide",
            "say it: --set inflate.heads=N",
        )
    return dim // _HEAD_DIM, f"heads of {family} models are {_HEAD_DIM} wide"


def _check_heads(known: Mapping[str, Tensor], dim: int, heads: int, what: str) -> None:
    turning = len(known["periods"]) * 4 if "periods" in known else None
    if dim % heads or turning not in (None, dim // heads) or ("table" not in known and dim // heads % 4):
        raise RunError(
            f"{what} for tokens of width {dim}",
            "a divisor of the width" if turning is None else f"heads {turning} wide, as its rotary periods say",
        )


def _eps(family: str) -> float:
    return 1e-5 if "DINOv3" in family else 1e-12 if family == "Hugging Face ViT" else 1e-6


def _blocks(known: Mapping[str, Tensor], dim: int, depth: int, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All blocks, and what of them the file has not."""
    tensors: dict[str, Tensor] = {}
    supplied: dict[str, str] = {}
    for n in range(depth):
        own = {k.removeprefix(f"blocks.{n}."): t for k, t in known.items() if k.startswith(f"blocks.{n}.")}
        tensors |= {f"blocks.{n}.{name}": t for name, t in _block(own, dim, f"{where}, block {n}").items()}
        if not _biased(own):
            supplied[f"blocks.{n}.attn.qkv.bias"] = "zero where the file has no bias"
    return tensors, supplied


def _biased(own: Mapping[str, Tensor]) -> bool:
    return "qkv.bias" in own or all(f"{part}.bias" in own for part in "qkv")


def _block(own: Mapping[str, Tensor], dim: int, where: str) -> dict[str, Tensor]:
    """One block by the names of `transformer.Block`; biases of queries, keys and values that are not there are zero."""
    weight, bias = own.get("qkv.weight"), own.get("qkv.bias")
    if weight is None:
        weight = torch.cat([_of(own, f"{part}.weight", where) for part in "qkv"])
    if bias is None:
        bias = torch.cat([own.get(f"{part}.bias", torch.zeros(dim)).float() for part in "qkv"])
    if "bias_mask" in own:
        mask = own["bias_mask"].float()
        if not torch.isin(mask, torch.tensor([0.0, 1.0])).all():
            raise RunError(f"{where}: the mask of the bias holds other values than 0 and 1", "a trained file")
        bias = bias.float() * mask
    made = {f"{name}.{end}": _of(own, f"{name}.{end}", where) for name in ("norm1", "norm2") for end in _ENDS}
    made |= {f"attn.proj.{end}": _of(own, f"proj.{end}", where) for end in _ENDS}
    made |= {"attn.qkv.weight": weight, "attn.qkv.bias": bias}
    made |= {name: own[name] for name in ("ls1.gamma", "ls2.gamma") if name in own}
    made |= _mlp(own, where)
    return {name: tensor.float() for name, tensor in made.items()}


def _mlp(own: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    present = {name for name in _MLP if f"{name}.weight" in own}
    last = "w3" if "w3" in present else "fc2"
    made: dict[str, Tensor] = {}
    for end in _ENDS:
        out = _of(own, f"{last}.{end}", where)
        if {"gate", "up"} <= present:
            first, names = torch.cat([_of(own, f"{n}.{end}", where) for n in ("gate", "up")]), ("w12", "w3")
        elif "w12" in present:
            first, names = _of(own, f"w12.{end}", where), ("w12", "w3")
        else:
            first = _of(own, f"{'up' if 'up' in present else 'fc1'}.{end}", where)
            # timm packs both halves of a gated layer under the name of a plain one
            packed = len(first) == 2 * _of(own, f"{last}.weight", where).shape[1]
            names = ("w12", "w3") if packed else ("fc1", "fc2")
        made |= {f"mlp.{names[0]}.{end}": first, f"mlp.{names[1]}.{end}": out}
    return made


def _embedding(
    known: Mapping[str, Tensor], tensors: dict[str, Tensor], family: str, rope: tuple[int, float], where: str
) -> tuple[int, int] | None:
    """Add patches, tokens without a place, positions and the last norm; the grid of the table, if there is one."""
    tensors["patch_embed.proj.weight"] = _of(known, "patch.weight", where).float()
    tensors["patch_embed.proj.bias"] = _of(known, "patch.bias", where).float()
    tensors |= {f"norm.{end}": _of(known, f"norm.{end}", where).float() for end in _ENDS}
    dim = len(tensors["norm.weight"])
    tokens = [known[n].float().reshape(-1, dim) for n in ("cls", "registers") if n in known]
    prefix = torch.cat(tokens) if tokens else None
    if "table" not in known:
        if "DINOv3" not in family:
            _of(known, "table", where)
        head, theta = rope
        tensors["rope_periods"] = known["periods"].float() if "periods" in known else rope_periods(head, theta)
        grid = None
    else:
        table = known["table"].float().reshape(-1, dim)
        first, grid = _rows(len(table), 0 if prefix is None else len(prefix), where)
        if prefix is not None and first:
            prefix[:first] += table[:first]
        tensors["pos_embed"] = table[first:].reshape(*grid, dim)
    if prefix is not None:
        tensors["prefix_tokens"] = prefix
    return grid


def _rows(rows: int, prefix: int, where: str) -> tuple[int, tuple[int, int]]:
    """How many rows of a table belong to tokens without a place, and the square grid of the rest."""
    # most files give the class token a row, some none, some one to every register
    for first in sorted({min(1, prefix), 0, prefix}, key=lambda n: (n != min(1, prefix), n)):
        side = math.isqrt(max(0, rows - first))
        if side and side * side == rows - first:
            return first, (side, side)
    raise RunError(f"{where} has positions for {rows} tokens", "a square grid of patches, and the class token")


def _shape(
    tensors: Mapping[str, Tensor], grid: tuple[int, int] | None, depth: int, heads: int, eps: float, where: str
) -> Planar:
    kernel = tensors["patch_embed.proj.weight"]
    if depth == 0 or kernel.ndim != 4 or kernel.shape[1] not in (1, 3) or len(kernel) < _NARROWEST:
        raise RunError(
            f"{where} has {depth} blocks and a kernel of patches of shape {tuple(kernel.shape)}",
            f"blocks, and a kernel (width of {_NARROWEST} or more, 3 or 1 colours, rows, columns)",
        )
    gated = "blocks.0.mlp.w3.weight" in tensors
    return Planar(
        dim=len(kernel),
        depth=depth,
        heads=heads,
        hidden=tensors["blocks.0.mlp.w3.weight" if gated else "blocks.0.mlp.fc2.weight"].shape[1],
        patch=(kernel.shape[2], kernel.shape[3]),
        grid=grid,
        prefix=len(tensors["prefix_tokens"]) if "prefix_tokens" in tensors else 0,
        channels=kernel.shape[1],
        mlp="swiglu" if gated else "gelu",
        layer_scale="blocks.0.ls1.gamma" in tensors,
        eps=eps,
    )


def _check(shape: Planar, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise a RunError unless the tensors are exactly those of a transformer of such sizes, and finite."""
    with torch.device("meta"):
        own = PlanarViT(shape).state_dict()
    problems = misfits(own, tensors)
    problems += [f"{name} is not finite" for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if problems:
        raise RunError(f"{where} is no whole transformer: {listed(problems, '; ')}", "every tensor of every block")


def _of(tensors: Mapping[str, Tensor], name: str, where: str) -> Tensor:
    if name not in tensors:
        raise RunError(
            f"{where} lacks '{name}'",
            "every tensor of a vision transformer",
            "the file is not whole, or of a variant that is not known",
        )
    return tensors[name]
