"""The description of an EM phantom: what tissue, what microscope, what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from neuropil.errors import ConfigError
from neuropil.geometry import Float3, Int3
from neuropil.synth.phantom_config import PhantomConfig

__all__ = ["EMPhantomConfig"]


@dataclass(frozen=True)
class EMPhantomConfig(PhantomConfig):
    """Everything that an `EMPhantom` is made from; two equal configs give equal voxels.

    Grey values are 0-255, lengths nm, probabilities per section unless said otherwise. The tissue depends on
    the seed and the position alone, never on `shape`: a smaller shape is a crop of a larger one.

    Raises
    ------
    ConfigError
        If a value is impossible.
    """

    seed: int = 0
    shape: Int3 = (128, 128, 128)
    voxel_size: Float3 = (8.0, 8.0, 8.0)
    # tissue
    spacing_nm: float = 178.0  #: distance between neighbouring neurite sites: the calibre of thin neurites
    trunk_density: float = 0.5  #: share of the possible trunks that exist: fewer trunks, larger neurons
    thick: float = 0.42  #: chance that a trunk is thicker than one site; each further step is rarer by the same factor
    glia: float = 0.06  #: chance that a trunk is a glial process that spreads sheets between its neighbours
    gap_nm: float = 12.0  #: width of the band between two neurons that `gap_label` fills
    gap_label: int | None = 0  #: label of that band; None gives dense labels
    mitochondria: float = 0.5  #: chance per six trunk sites of a mitochondrion; thick trunks have more
    synapses: float = 0.07  #: chance per site of a synapse
    # look
    cytoplasm: float = 184.0
    cytoplasm_spread: float = 25.0
    texture: float = 10.0  #: granularity of the cytoplasm at 15 nm
    mottle: float = 15.0  #: and at 43 nm
    membrane: float = 88.0  #: grey at the middle of a cut membrane
    membrane_nm: float = 12.0  #: half width (one sigma) of the dark line between two neurons
    mitochondrion: float = 80.0
    cristae: float = 6.0
    organelle: float = 0.4  #: contrast of vesicles, microtubules and reticulum against that of membranes
    stain_gradient: float = 9.0
    # microscope
    noise: float = 12.0
    late_noise: float = 6.5  #: noise added after the blur
    blur_vox: float = 0.8
    line_noise: float = 1.6  #: per-row brightness error (FIB-SEM scan lines)
    section_nm: float = 0.0  #: depth that one section projects; 0 for block-face imaging
    # sections
    jitter_nm: float = 0.0
    section_contrast: float = 0.0
    missing: float = 0.0
    dark: float = 0.0
    blurred: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.spacing_nm >= 3 * max(self.voxel_size):
            raise ConfigError(
                f"spacing_nm {self.spacing_nm} at voxels of {self.voxel_size} nm",
                "at least three voxels between neurites, or they would not hold together",
                "raise spacing_nm or use smaller voxels",
            )
        self._require_shares("trunk_density", "thick", "glia", "mitochondria", "synapses", "missing", "dark", "blurred")
        if self.missing + self.dark + self.blurred > 1:
            raise ConfigError(
                f"missing + dark + blurred = {self.missing + self.dark + self.blurred}",
                "at most 1, as a section has one",
            )
        if self.trunk_density < 0.1:
            raise ConfigError(f"trunk_density {self.trunk_density}", "at least 0.1: trunks must reach all tissue")
        if self.gap_label is not None and self.gap_label < 0:
            raise ConfigError(f"gap_label {self.gap_label}", "0 or more, or None for dense labels")
        if not 0 <= self.gap_nm <= 0.2 * self.spacing_nm:
            raise ConfigError(f"gap_nm {self.gap_nm}", f"0 to a fifth of spacing_nm ({0.2 * self.spacing_nm:g})")

    @classmethod
    def fib_sem(cls, **changes: Any) -> EMPhantomConfig:
        """Block-face imaging at 8x8x8 nm, after the look of fly medulla: isotropic, clean, grey mitochondria."""
        return replace(cls(), **changes)

    @classmethod
    def sstem(cls, **changes: Any) -> EMPhantomConfig:
        """Serial sections at 40x4x4 nm: crisp membranes, cristae, sections that jitter, fade, blur or get lost."""
        base = cls(
            shape=(20, 512, 512),
            voxel_size=(40.0, 4.0, 4.0),
            cytoplasm=168.0,
            cytoplasm_spread=10.0,
            texture=30.0,
            mottle=7.0,
            membrane=24.0,
            membrane_nm=8.0,
            mitochondrion=95.0,
            cristae=36.0,
            organelle=0.6,
            gap_nm=10.0,
            spacing_nm=148.0,
            stain_gradient=10.0,
            noise=46.0,
            late_noise=3.0,
            blur_vox=0.8,
            line_noise=0.0,
            section_nm=40.0,
            jitter_nm=8.0,
            section_contrast=0.06,
            missing=0.01,
            dark=0.02,
            blurred=0.02,
        )
        return replace(base, **changes)
