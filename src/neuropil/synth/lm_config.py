"""The description of a light-microscopy phantom: what neurons, what microscope, and how hard it is to trace."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3
from neuropil.synth.phantom_config import PhantomConfig

__all__ = ["KNOBS", "LMPhantomConfig"]

#: what makes an image harder, each 0 to 1.
KNOBS = ("noise", "blur", "gaps", "crossings")


@dataclass(frozen=True)
class LMPhantomConfig(PhantomConfig):
    """Everything that an `LMPhantom` is made from; two equal configs give equal voxels.

    Lengths of cells are µm, of voxels and the optics nm. Trees fill the region that `shape` stands for, so another
    shape gives other trees; the four knobs and the optics leave the trees as they are.

    Raises
    ------
    ConfigError
        If a value is impossible.
    """

    seed: int = 0
    shape: Int3 = (64, 256, 256)
    voxel_size: Float3 = (600.0, 300.0, 300.0)
    # cells
    neurons: int = 1
    cable_um: float = 900.0  #: length of one neuron's neurites
    stems: int = 4  #: neurites that leave the soma
    branch_um: float = 26.0  #: mean distance between branch points
    tortuosity: float = 0.4  #: 0 nearly straight, 1 writhing
    soma_um: float = 4.5  #: radius
    stem_um: float = 1.1  #: radius of a neurite where it leaves the soma
    twig_um: float = 0.3  #: and the thinnest it gets
    taper: float = 0.3  #: share of its radius that a neurite loses between branch points
    # difficulty
    noise: float = 0.25  #: 0: 400 photons in a bright voxel, 1: 25
    blur: float = 0.25  #: 0: a good objective, 1: four times wider
    gaps: float = 0.2  #: breaks and beads in the staining
    crossings: float = 0.2  #: fibres of other cells that touch the neurons on their way
    # microscope
    psf_nm: Float3 = (420.0, 150.0, 150.0)  #: one sigma of the point spread function, before `blur`
    haze: float = 0.3  #: autofluorescence and light from out of focus
    illumination: float = 0.3  #: how uneven the brightness is across the field and with depth
    saturation: float = 0.55  #: brightness that is white; a stained volume larger than the PSF has 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_shares(*KNOBS, "tortuosity", "taper", "haze", "illumination")
        for name in ("cable_um", "branch_um", "soma_um", "stem_um", "twig_um", "saturation"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ConfigError(f"{name} {getattr(self, name)}", "a positive number")
        if self.neurons < 1 or self.stems < 1:
            raise ConfigError(f"{self.neurons} neurons of {self.stems} stems", "at least one of each")
        if not self.twig_um <= self.stem_um <= self.soma_um:
            raise ConfigError(
                f"radii {self.twig_um}, {self.stem_um}, {self.soma_um} um", "twig_um <= stem_um <= soma_um"
            )
        if len(self.psf_nm) != 3 or not all(0 <= v < math.inf for v in self.psf_nm):
            raise ConfigError(f"psf_nm {self.psf_nm}", "three lengths z, y, x in nm, 0 for none")
        room_um = min(v * n for v, n in zip(self.voxel_size[1:], self.shape[1:], strict=True)) / 1000
        if room_um < 4 * self.soma_um:
            raise ConfigError(
                f"a field of {room_um:g} um for somata of radius {self.soma_um} um",
                f"at least {4 * self.soma_um:g} um",
                "enlarge shape or shrink soma_um",
            )

    @classmethod
    def confocal(cls, **changes: Any) -> LMPhantomConfig:
        """A confocal stack at 600x300x300 nm."""
        return replace(cls(), **changes)

    @classmethod
    def two_photon(cls, **changes: Any) -> LMPhantomConfig:
        """A two-photon stack at 1000x400x400 nm: a wider PSF, more haze, light that fades with depth."""
        base = cls(
            shape=(64, 256, 256),
            voxel_size=(1000.0, 400.0, 400.0),
            cable_um=1400.0,
            branch_um=32.0,
            psf_nm=(800.0, 220.0, 220.0),
            haze=0.5,
            illumination=0.6,
        )
        return replace(base, **changes)

    @classmethod
    def projection(cls, **changes: Any) -> LMPhantomConfig:
        """A single image of a flat cell, 2-D as a stack of depth 1."""
        base = cls(
            shape=(1, 512, 512),
            voxel_size=(300.0, 300.0, 300.0),
            cable_um=1400.0,
            psf_nm=(0.0, 200.0, 200.0),
            saturation=0.9,
        )
        return replace(base, **changes)

    def graded(self, difficulty: float) -> LMPhantomConfig:
        """A copy with all four knobs at one value, 0 (easy) to 1 (hardly possible); the neurons stay the same."""
        knobs: dict[str, Any] = dict.fromkeys(KNOBS, difficulty)
        return replace(self, **knobs)
