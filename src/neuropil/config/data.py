"""Settings of training crops: where they come from and how they are changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator, model_validator

from neuropil.config.base import Extent, Settings
from neuropil.config.sets import AUGMENT_SETS

Share = Annotated[float, Field(gt=0, lt=1)]

#: Settings that say how often voxels of a crop or of a section change their place ...
_PLACES = ("elastic", "rotate", "rescale", "slip", "shift")
#: ... and how often their grey value.
_GREYS = (
    *("missing_section", "low_contrast_section", "defocus_section", "fold_section", "blur", "cut_blur", "cut_out"),
    *("noise", "intensity", "intensity_section", "stain_gaps", "shot_noise"),
)


class AugmentConfig(Settings):
    """How often, and how strongly, a training crop is changed; see the methods page on augmentation.

    Probabilities are per crop, or per section where the name ends in *section*. Lengths are in voxels of the section
    plane, or nm where said. What belongs to serial sections (slip, shift, missing, low contrast, defocus, fold, and
    section intensity) is never drawn for isotropic volumes, and a crop gets at most one kind of section defect.
    """

    set: Literal["standard", "weak", "strong"] = Field(
        "standard", description="a named set of grey-value changes; what is set beside it comes first"
    )
    flip: bool = True
    rotate90: bool = Field(True, description="exchange axes of equal voxel size and extent")
    elastic: float = Field(0.3, ge=0, le=1)
    elastic_spacing_nm: float = Field(160.0, gt=0, description="distance of control points")
    elastic_sigma_nm: float = Field(8.0, ge=0, description="root mean square of the deformation along each axis")
    rotate: float = Field(0.0, ge=0, le=1)
    rescale: float = Field(0.0, ge=0, le=1)
    rescale_range: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.25)
    slip: float = Field(0.05, ge=0, le=1, description="one section lies off its place; labels too")
    shift: float = Field(0.05, ge=0, le=1, description="all sections from one on lie off their place; labels too")
    shift_max: int = Field(10, ge=0)
    missing_section: float = Field(0.03, ge=0, le=1)
    missing_partial: float = Field(0.5, ge=0, le=1, description="share of missing sections that lose a part only")
    low_contrast_section: float = Field(0.01, ge=0, le=1)
    low_contrast_scale: float = Field(0.3, gt=0, le=1)
    blur: float = Field(0.1, ge=0, le=1)
    blur_sigma: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.5)
    defocus_section: float = Field(0.01, ge=0, le=1)
    fold_section: float = Field(0.0, ge=0, le=1, description="a black line swallows tissue; labels stay")
    cut_blur: float = Field(0.0, ge=0, le=1)
    cut_out: float = Field(0.0, ge=0, le=1, description="boxes without an image; labels stay")
    cut_out_nm: tuple[PositiveFloat, PositiveFloat] = Field((60.0, 240.0), description="sides of a box")
    cut_out_share: tuple[Share, Share] = Field(
        (0.15, 0.4), description="volume of the boxes over that of the crop; where they overlap less is hidden"
    )
    stain_gaps: float = Field(0.0, ge=0, le=1, description="bright places fade to the background; labels stay")
    stain_gap_sigma: tuple[PositiveFloat, PositiveFloat] = Field(
        (1.5, 4.0), description="standard deviation of a gap, in finest voxel edges"
    )
    shot_noise: float = Field(0.0, ge=0, le=1, description="photons are counted")
    shot_photons: tuple[PositiveFloat, PositiveFloat] = Field((20.0, 400.0), description="in a voxel of grey value 1")
    noise: float = Field(0.3, ge=0, le=1)
    noise_sigma: tuple[NonNegativeFloat, NonNegativeFloat] = (0.01, 0.06)
    intensity: float = Field(0.7, ge=0, le=1)
    intensity_scale: float = Field(0.15, ge=0, lt=1)
    intensity_shift: float = Field(0.1, ge=0)
    intensity_section: float = Field(0.3, ge=0, le=1)
    gamma: tuple[PositiveFloat, PositiveFloat] = (0.75, 1.35)
    extra: tuple[str, ...] = Field((), description="further augmentations, package.module:function")

    def still(self) -> AugmentConfig:
        """The same, but nothing is ever drawn: for crops that are looked at again and again."""
        return self.only_greys().only_places().model_copy(update={"extra": ()})

    def only_places(self) -> AugmentConfig:
        """The same, but grey values stay as they are."""
        return self.model_copy(update=dict.fromkeys(_GREYS, 0.0))

    def only_greys(self) -> AugmentConfig:
        """The same, but nothing changes its place."""
        return self.model_copy(update=dict.fromkeys(_PLACES, 0.0) | {"flip": False, "rotate90": False})

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        name = values.get("set") if isinstance(values, Mapping) else None
        return {**AUGMENT_SETS[name], **values} if isinstance(name, str) and name in AUGMENT_SETS else values

    @field_validator(
        *("rescale_range", "blur_sigma", "noise_sigma", "gamma", "cut_out_nm", "cut_out_share"),
        *("stain_gap_sigma", "shot_photons"),
    )
    @classmethod
    def _ordered(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if ends[0] > ends[1]:
            raise ValueError("the lower end first, then the upper")
        return ends


class DataConfig(Settings):
    """Where training crops come from and how intensities are normalised."""

    crop: Extent | None = Field(None, description="voxels z, y, x; chosen from the voxel size when empty")
    normalise: Literal["percentile", "zscore", "uint8"] = "percentile"
    percentiles: tuple[float, float] = (0.5, 99.5)
    min_labelled: float = Field(0.05, ge=0, le=1, description="least labelled share of a crop")
    centred: float = Field(
        0.0, ge=0, le=1, description="share of the crops with a labelled place (of trees, cable) in their middle half"
    )
    anywhere: float = Field(0.0, ge=0, le=1, description="share of the crops that lie anywhere, labelled or not")
    zero_label: Literal["background", "ignore"] = Field(
        "background", description="label 0 is membrane or outside (its affinity 0 is truth), or was not annotated"
    )
    label_context: bool = Field(
        True, description="affinities: read labels beyond the crop, so that edges across its border count"
    )
    validation: float = Field(0.12, ge=0, lt=1, description="share of each volume held back as one slab")
    validation_axis: Literal["z", "y", "x", "auto"] = "auto"
    descriptor_sigma_nm: float = Field(80.0, gt=0, description="window of local shape descriptors")
    widen_border: int = Field(0, ge=0, description="steps by which object borders grow before affinities")
    cache_gb: float = Field(2.0, ge=0, description="volumes are held in memory while they fit; others are read by box")
    workers: int | None = Field(None, ge=0, description="loader threads or processes; chosen from the cores when empty")
    worker_kind: Literal["auto", "thread", "process"] = "auto"
    augment: AugmentConfig = AugmentConfig()

    @field_validator("percentiles")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError("two percentiles, the lower one first, for example [0.5, 99.5]")
        return value
