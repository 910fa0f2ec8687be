"""Named sets of grey-value augmentations: how far a view of a crop may lie from the crop.

Keys are those of `AugmentConfig`. A set says every way in which grey values change and nothing about places, which two
views of one crop must share.
"""

from __future__ import annotations

from collections.abc import Mapping

#: What every set leaves out unless it says otherwise.
_NONE: Mapping[str, object] = {
    "missing_section": 0.0,
    "low_contrast_section": 0.0,
    "defocus_section": 0.0,
    "fold_section": 0.0,
    "blur": 0.0,
    "cut_blur": 0.0,
    "cut_out": 0.0,
}
#: The exposure and the noise of another day at the microscope: all content can be seen.
_WEAK: Mapping[str, object] = {
    **_NONE,
    "intensity": 1.0,
    "intensity_scale": 0.05,
    "intensity_shift": 0.05,
    "intensity_section": 0.3,
    "noise": 0.5,
    "noise_sigma": (0.0, 0.05),
}
#: Content is always hidden (boxes; in serial sections whole sections too), and the rest is poor.
_STRONG: Mapping[str, object] = {
    **_NONE,
    "intensity": 1.0,
    "intensity_scale": 0.15,
    "intensity_shift": 0.1,
    "intensity_section": 0.3,
    "gamma": (0.5, 2.0),
    "noise": 0.5,
    "noise_sigma": (0.01, 0.2),
    "blur": 0.5,
    "blur_sigma": (0.5, 2.0),
    "missing_section": 0.1,
    "missing_partial": 0.7,
    "defocus_section": 0.1,
    "fold_section": 0.05,
    "cut_out": 1.0,
}
AUGMENT_SETS: Mapping[str, Mapping[str, object]] = {"standard": {}, "weak": _WEAK, "strong": _STRONG}
