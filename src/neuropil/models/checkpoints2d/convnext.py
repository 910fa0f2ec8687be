"""A 2-D ConvNeXt of a file (Liu et al. 2022, arXiv 2201.03545; DINOv3's, 2508.10104) under the names of its authors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from neuropil.config import ConvNeXtConfig
from neuropil.errors import RunError, listed
from neuropil.models.checkpoints2d.files import WeightFile
from neuropil.models.convnext import ConvNeXt3d
from neuropil.models.fitting import misfits

Four = tuple[int, int, int, int]
_STEM = "downsample_layers.0.0.weight"

#: What may stand before the names of a whole model.
_BEFORE = re.compile(
    r"(?:(?:module|_orig_mod|teacher|model|backbone|convnext|dinov3_convnext|trunk|visual|teacher_ema|student|ema)\.)*"
)
#: The stem, by which each family is known, and the first block's kernel, which must be there too.
_FAMILIES = {
    "ConvNeXt": ("downsample_layers.0.0.weight", "stages.0.0.dwconv.weight"),
    "Hugging Face DINOv3 ConvNeXt": ("stages.0.downsample_layers.0.weight", "stages.0.layers.0.depthwise_conv.weight"),
    "Hugging Face ConvNeXt": ("embeddings.patch_embeddings.weight", "encoder.stages.0.layers.0.dwconv.weight"),
    "timm ConvNeXt": ("stem.0.weight", "stages.0.blocks.0.conv_dw.weight"),
    "torchvision ConvNeXt": ("features.0.0.weight", "features.1.0.block.0.weight"),
}
_WB = r"(weight|bias)"
_NAMES: tuple[tuple[str, str], ...] = (
    (rf"(?:downsample_layers\.0|stages\.0\.downsample_layers|stem|features\.0)\.([01])\.{_WB}", r"0.\1.\2"),
    (rf"embeddings\.patch_embeddings\.{_WB}", r"0.0.\1"),
    (rf"embeddings\.layernorm\.{_WB}", r"0.1.\1"),
    (rf"downsample_layers\.([123])\.([01])\.{_WB}", r"\1.\2.\3"),
    (rf"stages\.([123])\.downsample(?:_layers)?\.([01])\.{_WB}", r"\1.\2.\3"),
    (rf"encoder\.stages\.([123])\.downsampling_layer\.([01])\.{_WB}", r"\1.\2.\3"),
)
_BLOCK = re.compile(r"(?:encoder\.)?stages\.([0-3])\.(?:blocks\.|layers\.)?(\d+)\.(\D.*)")
#: torchvision numbers stages and the steps between them in one row.
_ROW = re.compile(r"features\.([1-7])\.(\d+)\.(.*)")
_INNER: tuple[tuple[str, str], ...] = (
    (rf"(?:dwconv|conv_dw|depthwise_conv|block\.0)\.{_WB}", r"dwconv.\1"),
    (rf"(?:norm|layernorm|layer_norm|block\.2)\.{_WB}", r"norm.\1"),
    (rf"(?:pwconv1|mlp\.fc1|pointwise_conv1|block\.3)\.{_WB}", r"pwconv1.\1"),
    (rf"(?:pwconv2|mlp\.fc2|pointwise_conv2|block\.5)\.{_WB}", r"pwconv2.\1"),
    (r"gamma|layer_scale_parameter|layer_scale", "gamma"),
)
_NORM = re.compile(rf"(?:norm|layernorm|layer_norm|head\.norm|norm_pre|classifier\.0)\.{_WB}")
_DROPPED = (
    (r"norms\.\d+\..*", "norm of the last stage once more"),
    (r"(?:heads?|fc|classifier)\..*", "classification or projection head"),
    (r"mask_token", "token of hidden patches"),
    (r"student\..*", "student"),
)


#: Of the norms of all published ones.
_EPS = 1e-6
#: What to do about a file that is nearly one.
_FIX = "get the file anew if it was cut or changed; variants of the network are not read"


@dataclass(frozen=True)
class ConvNeXt2d:
    """A 2-D ConvNeXt that was read.

    Attributes
    ----------
    path
        The file.
    family
        By whose names.
    dims, depths
        Channels and blocks of the four stages.
    tensors
        float32, by the names of its authors.
    layer_scale
        Whether its branches have a learned gain.
    eps
        Added to variances in its norms.
    dropped
        Names of the file that were left out, and why.
    """

    path: Path
    family: str
    dims: Four
    depths: Four
    tensors: dict[str, Tensor]
    layer_scale: bool
    eps: float
    dropped: dict[str, str]


def convnext_family(names: Iterable[str]) -> tuple[str, str] | None:
    """The family of a ConvNeXt, and what stands before the names of the model; None of anything else."""
    known = set(names)
    found = []
    for family, (stem, kernel) in _FAMILIES.items():
        for name in known:
            before = name.removesuffix(stem)
            if before != name and _BEFORE.fullmatch(before) and before + kernel in known:
                found.append((family, before))
    return min(found, key=lambda f: ("student" in f[1], "teacher" not in f[1], len(f[1])), default=None)


def read_convnext(file: WeightFile) -> ConvNeXt2d:
    """Read a ConvNeXt from a file that holds one.

    Raises
    ------
    RunError
        If the file holds no ConvNeXt, or is not exactly one: a tensor is not known, missing, of another shape or not
        finite.
    """
    where = f"'{file.path}'"
    kind = convnext_family(file.tensors)
    if kind is None:
        stems = ", ".join(stem for stem, _ in _FAMILIES.values())
        raise RunError(f"{where} holds no ConvNeXt", f"one of {stems}", _FIX)
    family, before = kind
    act = file.config.get("hidden_act", "gelu")
    if act != "gelu":
        raise RunError(f"{where} has the activation {act}", "gelu, as ConvNeXt has it", _FIX)
    known, dropped, unknown = _renamed(file.tensors, before)
    if unknown:
        raise RunError(
            f"{where} has {len(unknown)} unknown or repeated tensors: {listed(unknown)}",
            "those of a ConvNeXt of four stages, as its authors, DINOv3, Hugging Face, timm or torchvision name them",
            "ConvNeXt V2 (grn) and other stems are other networks",
        )
    depths, dims = _sizes(known, where)
    layer_scale = any(name.endswith(".gamma") for name in known)
    _check(known, dims, depths, where, layer_scale=layer_scale)
    # the blocks of Hugging Face's older class have the usual one whatever its settings say
    said = file.config.get("layer_norm_eps", _EPS) if family.endswith("DINOv3 ConvNeXt") else _EPS
    return ConvNeXt2d(file.path, family, dims, depths, known, layer_scale, float(said), dropped)


def _renamed(tensors: Mapping[str, Tensor], before: str) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    known: dict[str, Tensor] = {}
    dropped: dict[str, str] = {}
    unknown = []
    for name, tensor in tensors.items():
        own = name.removeprefix(before)
        common = _common(own)
        if common is not None and common not in known:
            known[common] = _plain(common, tensor.float())
        elif (why := next((w for pattern, w in _DROPPED if re.fullmatch(pattern, own)), None)) is not None:
            dropped[name] = why
        else:
            unknown.append(name)
    return known, dropped, unknown


def _common(name: str) -> str | None:
    """The name that its authors use."""
    for pattern, common in _NAMES:
        if found := re.fullmatch(pattern, name):
            return "downsample_layers." + found.expand(common)
    if found := _NORM.fullmatch(name):
        return f"norm.{found[1]}"
    stage, block, rest = "", "", ""
    if found := _BLOCK.fullmatch(name):
        stage, block, rest = found.groups()
    elif found := _ROW.fullmatch(name):
        number, block, rest = found.groups()
        if int(number) % 2 == 0:
            return f"downsample_layers.{int(number) // 2}.{block}.{rest}" if rest in ("weight", "bias") else None
        stage = str(int(number) // 2)
    for pattern, common in _INNER:
        if found := re.fullmatch(pattern, rest):
            return f"stages.{stage}.{int(block)}.{found.expand(common)}"
    return None


def _plain(name: str, tensor: Tensor) -> Tensor:
    """Gains without, and pointwise kernels as matrices: some families keep them as (C, 1, 1) and (O, I, 1, 1)."""
    pointwise = ".pwconv" in name and tensor.ndim == 4 and tuple(tensor.shape[2:]) == (1, 1)
    gain = name.endswith(".gamma") and tuple(tensor.shape[1:]) == (1, 1)
    return tensor.flatten(1) if pointwise else tensor.flatten() if gain else tensor


def _sizes(known: Mapping[str, Tensor], where: str) -> tuple[Four, Four]:
    depths, dims = [], []
    for stage in range(4):
        blocks = {int(name.split(".")[2]) for name in known if name.startswith(f"stages.{stage}.")}
        kernel = known.get(f"stages.{stage}.0.dwconv.weight")
        if kernel is None:
            raise RunError(f"{where} lacks stages.{stage}.0.dwconv.weight", "a whole ConvNeXt of four stages", _FIX)
        depths.append(1 + max(blocks))
        dims.append(len(kernel))
    return (depths[0], depths[1], depths[2], depths[3]), (dims[0], dims[1], dims[2], dims[3])


def _check(known: Mapping[str, Tensor], dims: Four, depths: Four, where: str, *, layer_scale: bool) -> None:
    """Raise a RunError unless the tensors are exactly those of a ConvNeXt of such sizes, and finite."""
    config = ConvNeXtConfig(
        dims=dims, depths=depths, sections=1, fold=(1, 1, 1, 1), layer_scale=1.0 if layer_scale else None
    )
    with torch.device("meta"):
        own = ConvNeXt3d(config, (1.0, 1.0, 1.0)).state_dict()
    # a kernel of the plane is one section deep; the stem may see one colour or three
    deep = {name: tensor.unsqueeze(2) if tensor.ndim == 4 else tensor for name, tensor in known.items()}
    stem = deep.get(_STEM)
    if stem is not None and stem.ndim == 5 and stem.shape[1] == 3:
        deep[_STEM] = stem[:, :1]
    problems = misfits(own, deep)
    problems += [f"{name} is not finite" for name, tensor in known.items() if not torch.isfinite(tensor).all()]
    if problems:
        raise RunError(
            f"{where} is no whole ConvNeXt: {listed(problems, '; ')}",
            "every tensor of four stages, with kernels of 4 x 4, 7 x 7 and 2 x 2",
            _FIX,
        )
