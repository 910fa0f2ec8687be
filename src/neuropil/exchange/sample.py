"""Grey values to try a graph with: of a phantom, so that no licence of any data is touched."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neuropil.config import DataConfig
from neuropil.data.normalise import fit_normaliser
from neuropil.geometry import Int3
from neuropil.synth.em import EMPhantom
from neuropil.synth.em_config import EMPhantomConfig
from neuropil.volume import Volume


def raw(extent: Int3) -> npt.NDArray[np.uint8]:
    """Tissue (Z, Y, X) of the EM phantom; the same whenever it is asked for."""
    phantom = EMPhantom(EMPhantomConfig.fib_sem(seed=0, shape=extent))
    return np.asarray(phantom.image(phantom.box), np.uint8)


def grey(extent: Int3, config: DataConfig) -> Tensor:
    """The same as a network sees it: (1, 1, Z, Y, X), normalised as a volume of its own."""
    values = raw(extent)
    # what is normalised is numbers: the voxel size does not matter
    volume = Volume(values, (1.0, 1.0, 1.0), kind="image", name="the phantom")
    return torch.from_numpy(fit_normaliser(volume, config)(values))[None, None]
