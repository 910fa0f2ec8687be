"""The two views of a crop: a weak one that shows all of it, and a strong one that hides a part."""

from __future__ import annotations

from neuropil.config import AugmentConfig, Config

#: Names of the views in a batch; that of the clean crop is "image".
WEAK, STRONG = "weak", "strong"


def views_of(config: Config) -> dict[str, AugmentConfig]:
    """How the grey values of each view differ from those of the crop."""
    own = config.pretrain.multiscale
    return {WEAK: AugmentConfig(set=own.weak).only_greys(), STRONG: AugmentConfig(set=own.strong).only_greys()}
