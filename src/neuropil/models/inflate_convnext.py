"""A 2-D ConvNeXt becomes the encoder `convnext`: kernels spread through depth, colours folded into one grey value."""

from __future__ import annotations

from torch import Tensor

from neuropil.config import ConvNeXtConfig, InflateConfig
from neuropil.errors import ConfigError, RunError, listed
from neuropil.geometry import Float3
from neuropil.models.checkpoints2d.convnext import ConvNeXt2d
from neuropil.models.convnext import ConvNeXt3d, plan_fold
from neuropil.models.fitting import misfits
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
    made, changed = dict(source.tensors), {}
    weight, bias = f"{_STEM}.weight", f"{_STEM}.bias"
    coloured = made[weight].shape[1] == 3
    if coloured:
        made[weight], made[bias] = grey_kernel(made[weight], made[bias], config.mean, config.std)
        changed[bias] = "normalisation of colours folded in"
    for name, tensor in made.items():
        if tensor.ndim == 4 and name in own:
            deep = own[name].shape[2]
            made[name] = inflated_kernel(tensor, deep, config.depth, config.sigma)
            changed[name] = f"{tuple(source.tensors[name].shape)} inflated to {deep} sections ({config.depth})"
    if coloured:
        changed[weight] += ", colours folded into one grey value"
    if problems := misfits(own, made):
        raise RunError(
            f"'{source.path}' is not the encoder that was asked for: {listed(problems, '; ')}",
            f"channels {list(source.dims)}, blocks {list(source.depths)}",
            "leave dims, depths and layer_scale under model.convnext. to the file",
        )
    copied = tuple(name for name in own if name not in changed)
    return made, InflateReport(copied, changed, {}, (), source.dropped, 1.0)
