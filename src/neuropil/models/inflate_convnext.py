"""A 2-D ConvNeXt becomes the encoder `convnext`: kernels spread through depth, colours folded into one grey value."""

from __future__ import annotations

from torch import Tensor

from neuropil.config import ConvNeXtConfig, InflateConfig
from neuropil.errors import ConfigError, RunError
from neuropil.geometry import Float3
from neuropil.models.checkpoints2d.convnext import ConvNeXt2d
from neuropil.models.convnext import ConvNeXt3d, plan_fold
from neuropil.models.inflate import InflateReport, grey_kernel, inflated_kernel

_STEM = "downsample_layers.0.0"


def plan_convnext(source: ConvNeXt2d, config: InflateConfig, voxel_size: Float3 | None) -> ConvNeXtConfig:
    """The settings `model.convnext` of the encoder that a source becomes.

    Parameters
    ----------
    voxel_size
        nm, z, y, x, of the volumes to come: where sections are put together follows from it.

    Raises
    ------
    ConfigError
        If there is no voxel size.
    """
    if voxel_size is None:
        raise ConfigError(
            f"'{source.path}', a ConvNeXt, without a voxel size",
            "where its steps put sections together follows from it",
            "--voxel-size z,y,x in nm",
        )
    return ConvNeXtConfig(
        dims=source.dims,
        depths=source.depths,
        sections=config.sections,
        stem_stride=config.stem_stride,
        fold=plan_fold(voxel_size, config.stem_stride),
        layer_scale=1e-6 if source.layer_scale else None,
        eps=source.eps,
    )


def inflate_convnext(
    source: ConvNeXt2d, target: ConvNeXtConfig, config: InflateConfig
) -> tuple[dict[str, Tensor], InflateReport]:
    """The state of the encoder `convnext` from a 2-D ConvNeXt.

    Parameters
    ----------
    source
        From `neuropil.models.checkpoints2d.read_convnext`.
    target
        Settings of the encoder; see `plan_convnext`.
    config
        How kernels are spread and colours folded.

    Returns
    -------
    dict, InflateReport
        Every tensor of the encoder, float32; and the account.

    Raises
    ------
    RunError
        If the encoder that was asked for has other sizes than the source: nothing is taken in part.
    """
    own = ConvNeXt3d(target, (1.0, 1.0, 1.0)).state_dict()
    made: dict[str, Tensor] = {}
    changed: dict[str, str] = {}
    for name, tensor in source.tensors.items():
        if tensor.ndim < 4 or name not in own:
            made[name] = tensor
            continue
        deep = own[name].shape[2]
        made[name] = inflated_kernel(tensor, deep, config.depth, config.sigma)
        changed[name] = f"{tuple(tensor.shape)} inflated to {deep} sections ({config.depth})"
    weight, bias = (source.tensors[f"{_STEM}.{end}"] for end in ("weight", "bias"))
    if weight.shape[1] == 3:
        grey, made[f"{_STEM}.bias"] = grey_kernel(weight, bias, config.mean, config.std)
        made[f"{_STEM}.weight"] = inflated_kernel(grey, own[f"{_STEM}.weight"].shape[2], config.depth, config.sigma)
        changed[f"{_STEM}.weight"] += ", colours folded into one grey value"
        changed[f"{_STEM}.bias"] = "normalisation of colours folded in"
    odd = sorted(
        name for name in {*own, *made} if name not in own or name not in made or own[name].shape != made[name].shape
    )
    if odd:
        raise RunError(
            f"'{source.path}' is not the encoder that was asked for: {len(odd)} tensors differ, such as {odd[0]}",
            f"channels {list(source.dims)}, blocks {list(source.depths)}",
            "leave dims, depths and layer_scale under model.convnext. to the file",
        )
    copied = tuple(name for name in own if name not in changed)
    return made, InflateReport(copied, changed, {}, (), source.dropped, 1.0)
