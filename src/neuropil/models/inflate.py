"""`inflate`: the weights of a 2-D vision transformer, or of 2-D convolutions, made 3-D with a full account.

A kernel is spread over k sections with weights that add up to one, so that a volume of k equal sections is answered as
the image is: all on the middle section ("center"), evenly ("average": I3D, Carreira & Zisserman 2017, arXiv
1705.07750), or between the two ("gaussian"). Both ends of it were compared for neurons (arXiv 2405.02686). Three
colours become one grey value, for which the colours are equal; the normalisation of colours goes into kernel and bias,
so that grey values 0..1 are answered exactly. Patches of another size are fitted by the pseudo-inverse of the resizing
(FlexiViT: Beyer et al. 2023, arXiv 2212.08013) before they are spread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neuropil.config import InflateConfig, ViTConfig
from neuropil.errors import ConfigError, RunError, listed
from neuropil.geometry import Float3, Int3
from neuropil.models.checkpoints2d import ViT2d
from neuropil.models.vit_inflated import InflatedViT

#: A patch is at most so many sections deep in mode cube.
_DEEPEST = 16
#: Kernels of these convolutions see only one voxel: they are copied.
_POINTWISE = (1, 1)


@dataclass(frozen=True)
class InflateReport:
    """What became of every tensor.

    Parameters
    ----------
    copied
        Names that are as in the file; queries, keys and values may have been put together.
    changed
        Names of those that were inflated, resized, folded, or completed → what was done to each.
    new
        Names that the file has not, and how they begin.
    missing
        Names that should have come from the file and did not.
    dropped
        Names of the file that are not used → why.
    share
        How much of the encoder (by number of weights, without `new`) came from the file.
    """

    copied: tuple[str, ...]
    changed: Mapping[str, str]
    new: Mapping[str, str]
    missing: tuple[str, ...]
    dropped: Mapping[str, str]
    share: float

    def lines(self) -> list[str]:
        """The account for people: every tensor that was not simply copied."""
        told = [f"{len(self.copied)} tensors copied, {len(self.changed)} changed, {len(self.new)} new, "]
        told[0] += f"{len(self.dropped)} dropped, {len(self.missing)} missing ({self.share:.1%} of the weights found)"
        told += [f"  {name}: {what}" for name, what in (*self.changed.items(), *self.new.items())]
        for why in dict.fromkeys(self.dropped.values()):
            names = [name for name, reason in self.dropped.items() if reason == why]
            told.append(f"  dropped, {why}: {listed(names)}")
        return told + ([f"  missing: {listed(self.missing)}"] if self.missing else [])

    def summary(self) -> dict[str, Any]:
        """The account for run.json, every name of it."""
        return {
            "copied": list(self.copied),
            "changed": dict(self.changed),
            "new": dict(self.new),
            "missing": list(self.missing),
            "dropped": dict(self.dropped),
            "share": round(self.share, 4),
        }


def plan_inflated(source: ViT2d, config: InflateConfig, patch: Int3 | None, voxel_size: Float3 | None) -> ViTConfig:
    """The settings `model.vit` of the encoder that a source becomes.

    Parameters
    ----------
    patch
        Voxels of a patch, z, y, x; that of the source in the plane when None, and in depth `config.slab` (mode slab)
        or as many nm as in the plane (mode cube).
    voxel_size
        nm, z, y, x; only the depth of a patch in mode cube follows from it.

    Raises
    ------
    ConfigError
        If the depth of a patch does not follow from anything, or a patch has no voxels.
    """
    shape = source.shape
    y, x = shape.patch if patch is None else patch[1:]
    z = config.slab if patch is None else patch[0]
    if config.mode == "cube" and patch is None:
        if voxel_size is None:
            raise ConfigError("mode cube without the depth of a patch", "--patch z,y,x, or --voxel-size z,y,x in nm")
        z = min(_DEEPEST, max(1, round(y * voxel_size[1] / voxel_size[0])))
    if min(z, y, x) < 1:
        raise ConfigError(f"patches of {(z, y, x)} voxels", "z, y, x, each at least 1")
    rows, columns = shape.grid or (1, 1)
    return ViTConfig.model_validate(
        {
            **shape.blocks().model_dump(exclude={"patch", "inflated"}),
            "patch": (z, y, x),
            "inflated": {
                "positions": "rope" if shape.grid is None else "table",
                "table": (1 if config.mode == "slab" else config.levels, rows, columns),
            },
        }
    )


def inflate(source: ViT2d, target: ViTConfig, config: InflateConfig) -> tuple[dict[str, Tensor], InflateReport]:
    """The state of the encoder `vit_inflated` from a 2-D transformer.

    Parameters
    ----------
    source
        From `neuropil.models.checkpoints2d.read_vit2d`.
    target
        Settings of the encoder, with its patch; see `plan_inflated`.
    config
        How kernels are spread and colours folded.

    Returns
    -------
    dict, InflateReport
        Every tensor of the encoder, float32; and the account.

    Raises
    ------
    ConfigError
        If `target` has no patch, or reads the weights in another way than the source: other heads or positions.
    RunError
        If less than `config.floor` of the encoder's weights come from the source.
    """
    if target.patch is None:
        raise ConfigError("model.vit.patch is empty", "voxels of a patch, z, y, x")
    _check_meaning(source, target)
    encoder = InflatedViT(target, (1.0, 1.0, 1.0))
    own = encoder.state_dict()
    made, changed = _embedded(source, target.patch, config)
    changed |= source.supplied
    new = {"depth_embed": f"{tuple(own['depth_embed'].shape)}, zeros: depth changes nothing at first"}
    candidates = {**source.tensors, **made}
    fitting = {n for n, t in candidates.items() if n in own and own[n].shape == t.shape}
    wanted = [n for n in own if n not in new]
    weights = sum(own[n].numel() for n in wanted)
    unused = {n: "not in the encoder that was asked for" for n in candidates if n not in fitting}
    report = InflateReport(
        copied=tuple(n for n in wanted if n in fitting and n not in changed),
        changed={n: what for n, what in changed.items() if n in fitting},
        new=new,
        missing=tuple(n for n in wanted if n not in fitting),
        dropped={**source.dropped, **unused},
        share=sum(own[n].numel() for n in fitting) / max(1, weights),
    )
    if report.share < config.floor or not fitting:
        raise RunError(
            f"'{source.path}' holds {report.share:.1%} of the encoder that was asked for; "
            f"missing or of another shape: {listed(report.missing)}",
            f"at least {config.floor:.0%} (inflate.floor)",
            "leave the sizes under model.vit. to the file",
        )
    return {**own, **{n: candidates[n] for n in fitting}}, report


def _check_meaning(source: ViT2d, target: ViTConfig) -> None:
    """Raise a ConfigError where the weights would fit in shape and mean something else."""
    positions = "rope" if source.shape.grid is None else "table"
    for name, asked, own, fix in (
        ("heads", target.heads, source.shape.heads, "if the file's are misread, say it: --set inflate.heads=N"),
        ("inflated.positions", target.inflated.positions, positions, ""),
    ):
        if asked != own:
            raise ConfigError(f"model.vit.{name} = {asked} for '{source.path}'", f"{own}, as the file was trained", fix)


def _embedded(source: ViT2d, patch: Int3, config: InflateConfig) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Kernel and bias of patches in 3-D, and what was done to them."""
    kernel, bias = source.tensors["patch_embed.proj.weight"], source.tensors["patch_embed.proj.bias"]
    told = [f"{tuple(kernel.shape)}"]
    if source.shape.patch != patch[1:]:
        kernel = resized_kernel(kernel, patch[1:])
        told.append(f"resized in the plane to {patch[1]} x {patch[2]}")
    changed = {}
    if kernel.shape[1] > 1:
        kernel, bias = grey_kernel(kernel, bias, config.mean, config.std)
        told.append("colours and their normalisation folded into one grey value")
        changed["patch_embed.proj.bias"] = "normalisation of colours folded in"
    spread = inflated_kernel(kernel, patch[0], config.depth, config.sigma)
    told.append(f"inflated to {patch[0]} sections ({config.depth}): {tuple(spread.shape)}")
    changed["patch_embed.proj.weight"] = ", ".join(told)
    return {"patch_embed.proj.weight": spread.flatten(1), "patch_embed.proj.bias": bias}, changed


def depth_profile(sections: int, kind: str, sigma: float | None = None) -> Tensor:
    """Weights (sections,) of a kernel's copies, which add up to one.

    Parameters
    ----------
    kind
        "center" (the middle section; the two in the middle share where there is none), "average", or "gaussian".
    sigma
        Of "gaussian", in sections; a quarter of them when None.

    Examples
    --------
    >>> depth_profile(3, "center").tolist(), depth_profile(4, "center").tolist()
    ([0.0, 1.0, 0.0], [0.0, 0.5, 0.5, 0.0])
    """
    distance = (torch.arange(sections, dtype=torch.float64) - (sections - 1) / 2).abs()
    if kind == "average":
        weights = torch.ones_like(distance)
    elif kind == "gaussian":
        weights = torch.exp(-0.5 * (distance / (sections / 4 if sigma is None else sigma)) ** 2)
    else:
        weights = (distance == distance.min()).double()
    return (weights / weights.sum()).float()


def inflated_kernel(kernel_OIYX: Tensor, sections: int, kind: str, sigma: float | None = None) -> Tensor:
    """A kernel (O, I, Z, Y, X) from a 2-D one; over the sections it adds up to that; see `depth_profile`."""
    profile = depth_profile(sections, kind, sigma)
    return kernel_OIYX[:, :, None] * profile[None, None, :, None, None]


def resized_kernel(kernel_OIYX: Tensor, size: tuple[int, int]) -> Tensor:
    """A kernel for patches of another size, which answers resized patches as the old one answers the patches.

    Exactly where patches grow; in the least-squares sense where they shrink.
    """
    (y, x) = (torch.linalg.pinv(_resizing(n, m).T) for n, m in zip(kernel_OIYX.shape[2:], size, strict=True))
    out: Tensor = torch.einsum("Yy,oiyx,Xx->oiYX", y, kernel_OIYX.double(), x)
    return out.float()


def _resizing(old: int, new: int) -> Tensor:
    """The matrix (new, old) that resizes a line (bicubic, antialiased)."""
    lines = torch.eye(old, dtype=torch.float64)[:, None, None, :]
    return F.interpolate(lines, size=(1, new), mode="bicubic", antialias=True)[:, 0, 0].T


def grey_kernel(kernel_OIYX: Tensor, bias_O: Tensor, mean: Float3, std: Float3) -> tuple[Tensor, Tensor]:
    """Kernel (O, 1, Y, X) and bias for grey values 0..1, from those for normalised colours.

    ``kernel · grey + bias`` is what the old ones answer to an image whose colours are all `grey`, less `mean`, over
    `std`.
    """
    weights = kernel_OIYX.double() / torch.tensor(std, dtype=torch.float64)[None, :, None, None]
    shift = (weights.sum((2, 3)) * torch.tensor(mean, dtype=torch.float64)).sum(1)
    return weights.sum(1, keepdim=True).float(), (bias_O.double() - shift).float()
