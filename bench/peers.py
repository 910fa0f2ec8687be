"""Networks that users have today, as out-of-tree networks of neuropil: MONAI's, torch-em's U-Net, a UNETR as published.

Named as ``model.name=peers:unet`` with this folder on PYTHONPATH (extra `bench`); see experiments/fib25_peers.yaml.
Sizes are those of MONAI's own documentation and defaults; crops, losses, augmentation, optimiser, and what follows the
network are ours, so that only networks are compared. torch-em's package imports a great deal (``pip install --no-deps
torch-em`` is enough here): the file of its network, which needs PyTorch alone, is loaded by itself.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from neuropil.config import ModelConfig
from neuropil.geometry import Float3, Int3
from reference_unetr import ReferenceUNETR

#: What MONAI's transformers are built for: their sizes are fixed.
CROP = 64
#: The crops of the UNETR as published in experiments/isbi2012_unetr.yaml: its own are deeper than that volume.
SECTIONS: Int3 = (8, 160, 160)


class Peer(nn.Module):
    """A MONAI network with a head that is set apart.

    Parameters
    ----------
    body
        (B, 1, Z, Y, X) → (B, width, Z, Y, X).
    stride
        What extents must be multiples of.
    """

    layers = 0

    def __init__(self, body: nn.Module, width: int, outputs: int, stride: Int3) -> None:
        super().__init__()
        self.body, self.stride = body, stride
        self.head = nn.Conv3d(width, outputs, 1)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        return self.head(self.body(x_BCZYX))

    def no_decay(self) -> set[str]:
        """Biases and normalisation."""
        return {name for name, parameter in self.named_parameters() if parameter.ndim == 1}

    def encoder_names(self) -> set[str]:
        """None is pretrained."""
        return set()

    def layer_of(self, name: str) -> int:
        """All are one layer."""
        return 0


def unet(config: ModelConfig, voxel_size: Float3, outputs: int) -> nn.Module:
    """The U-Net of MONAI's spleen tutorial: five levels of 16 to 256 channels, two residual units each."""
    from monai.networks.nets import UNet

    body = UNet(3, 1, 16, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2, norm="batch")
    return Peer(body, 16, outputs, (16, 16, 16))


def unetr(config: ModelConfig, voxel_size: Float3, outputs: int) -> nn.Module:
    """UNETR at its defaults (about 90 M parameters)."""
    from monai.networks.nets import UNETR

    with torch.device("cpu"):  # it computes rates of dropout, which it cannot without numbers
        return Peer(UNETR(1, 16, (CROP,) * 3), 16, outputs, (CROP,) * 3)


def swin_unetr(config: ModelConfig, voxel_size: Float3, outputs: int) -> nn.Module:
    """SwinUNETR at feature size 24, its default."""
    from monai.networks.nets import SwinUNETR

    with torch.device("cpu"):
        return Peer(SwinUNETR(in_channels=1, out_channels=16), 16, outputs, (32, 32, 32))


def torch_em_file(name: str) -> ModuleType:
    """A file of torch-em's `model`, without the rest of the package."""
    package = importlib.util.find_spec("torch_em")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("torch-em is missing: pip install --no-deps torch-em")
    spec = importlib.util.spec_from_file_location(f"torch_em_{name}", Path(package.origin).parent / f"model/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def torch_em_unet(config: ModelConfig, voxel_size: Float3, outputs: int) -> nn.Module:
    """torch-em's UNet3d at its defaults: depth 4, 32 features doubled at each level, instance norm."""
    body = torch_em_file("unet").UNet3d(1, 32, initial_features=32)
    return Peer(body, 32, outputs, (16, 16, 16))


def published_unetr(config: ModelConfig, voxel_size: Float3, outputs: int) -> nn.Module:
    """The UNETR of `reference_unetr` (18 M parameters, full-resolution decoder) for crops of 8 x 160 x 160."""
    body = ReferenceUNETR(crop=SECTIONS)
    body.head = nn.Identity()
    return Peer(body, 32, outputs, SECTIONS)


if __name__ == "__main__":
    for build in (unet, unetr, swin_unetr, torch_em_unet, published_unetr):
        with torch.device("meta"):
            made = build(ModelConfig(), (8.0, 8.0, 8.0), 9)
        print(f"{build.__name__:12s} {sum(p.numel() for p in made.parameters()) / 1e6:6.1f} M parameters")
