"""Settings that would change nothing are refused: who sets one expects something from it."""

from __future__ import annotations

from neuropil.config import PretrainConfig
from neuropil.config.pretrain import MaskConfig
from neuropil.errors import ConfigError

_FIRST_POLICY = str(MaskConfig.model_fields["policy"].default)


def check_effect(config: PretrainConfig) -> None:
    """Meet settings that the method does not look at, and a loss without terms.

    Only of the methods that we know; what one from elsewhere looks at is its own affair.

    Raises
    ------
    ConfigError
        For the first of them.
    """
    method, mask = config.method, config.mask
    if method == "decision_mim" and mask.policy != _FIRST_POLICY:
        raise ConfigError(
            f"pretrain.mask.policy = {mask.policy} with pretrain.method = decision_mim",
            "no mask policy: there agents choose what is hidden",
            f"leave pretrain.mask.policy out, or --recipe mae --set pretrain.mask.policy={mask.policy}"
            if mask.policy != "learned"
            else "leave pretrain.mask.policy out",
        )
    if method in ("mae", "multiscale") and config.shuffle_agents:
        raise ConfigError(
            f"pretrain.shuffle_agents = true with pretrain.method = {method}",
            "a method with agents",
            "--recipe decision_mim, or leave pretrain.shuffle_agents out",
        )
    if method == "multiscale":
        _check_multiscale(mask)
    if method in ("mae", "decision_mim") and config.target.voxels == 0 and config.target.hog == 0:
        raise ConfigError(
            "pretrain.target.voxels = 0 and pretrain.target.hog = 0",
            "a weight above 0 for one of them: nothing would be learned",
            "leave one of them out",
        )


def _check_multiscale(mask: MaskConfig) -> None:
    for name, value, usual in (("policy", mask.policy, _FIRST_POLICY), ("adapt_ratio", mask.adapt_ratio, False)):
        if value != usual:
            raise ConfigError(
                f"pretrain.mask.{name} = {str(value).lower()} with pretrain.method = multiscale",
                "no setting of masks: there the strong view hides content, as pretrain.multiscale says",
                f"leave pretrain.mask.{name} out, or --recipe mae",
            )
