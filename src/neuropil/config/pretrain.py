"""Settings of pretraining."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from neuropil.config.base import Settings
from neuropil.config.multiscale import MultiscaleConfig


class MaskConfig(Settings):
    """Which patches are hidden."""

    policy: str = Field("random", description="a name in the table of masks, or package.module:function")
    ratio: float = Field(0.75, gt=0, lt=1, description="share of the patches that is hidden")
    adapt_ratio: bool = Field(False, description="choose the ratio by a probe on the labels given to pretraining")
    block: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (2, 2, 2), description="patches z, y, x that 'block' hides together"
    )
    edge_share: float = Field(0.5, ge=0, le=1, description="share of the hidden patches that 'mix' draws by edges")
    random_share: float = Field(
        0.3, ge=0, le=1, description="share of the hidden patches that 'loss_ranked' draws at random"
    )


class TargetConfig(Settings):
    """What is asked for in a hidden patch. Grey values are normalised to 0..1."""

    voxels: float = Field(1.0, ge=0, description="weight of standardised voxels")
    hog: float = Field(1.0, ge=0, description="weight of histograms of oriented gradients; 0 leaves them out")
    cell: int = Field(8, ge=1, description="voxels of a histogram's side in the section; shrunk to divide the patch")
    orientations: int = Field(9, ge=2, description="bins over half a turn: dark to bright and bright to dark are one")
    gradient_floor: float = Field(
        0.002, gt=0, description="mean grey levels a voxel below which a block of cells counts as flat"
    )
    variance_floor: float = Field(1e-4, gt=0, description="added to a patch's variance, so that flat ones stay small")
    edge: float = Field(0.0, ge=0, description="a patch's loss weighs 1 + edge x its edge density")
    edge_axes: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = Field(
        (0.25, 1.0, 1.0), description="weight of the gradient along z, y, x in the edge density"
    )
    edge_clip: float = Field(5.0, gt=0, description="largest edge density of a voxel; the crop's mean is 1")
    balance_decay: float = Field(0.99, ge=0, lt=1, description="memory of the magnitude that a loss is divided by")


class AgentsConfig(Settings):
    """The agents that decide which patches are hidden, how they learn, and when they are no longer listened to."""

    width: int = Field(128, ge=8, description="channels of an agent")
    depth: int = Field(2, ge=1, description="rounds of talk with the neighbours on the grid of patches")
    lr: float = Field(3e-4, gt=0)
    buffer: int = Field(64, ge=2, description="crops between updates, at the most")
    updates: int = Field(50, ge=1, description="updates that a run should have: short ones learn from smaller buffers")
    minibatch: int = Field(16, ge=1, description="crops of a step of an update; at the most a quarter of the buffer")
    epochs: int = Field(3, ge=1, description="times that an update goes through the buffer")
    rollout_every: int = Field(4, ge=1, description="steps between those that the agents learn from")
    teacher_blocks: int = Field(1, ge=1, description="blocks of the teacher that the agents see through")
    teacher_decay: float = Field(0.99, ge=0, lt=1, description="memory of the teacher's weights, a step")
    slower_decay: float = Field(
        0.998, ge=0, lt=1, description="memory of the copy whose loss, less the teacher's, is learning progress"
    )
    clip: float = Field(0.2, gt=0, lt=1, description="change of a pick's chance beyond which it earns no more")
    value_weight: float = Field(0.5, ge=0)
    entropy: float = Field(0.01, ge=0, description="reward of an even choice, as a share of the greatest entropy")
    entropy_floor: float = Field(0.6, ge=0, lt=1, description="share of the greatest entropy that must not be left")
    entropy_penalty: float = Field(10.0, ge=0, description="price of each share of entropy below the floor")
    kl: float = Field(
        0.1, gt=0, description="nats that the choice of a patch may lie from an even one, on average over an update"
    )
    grad_clip: float = Field(1.0, gt=0)
    progress: float = Field(4.0, ge=0, description="weight of learning progress against hardness beyond noise")
    by_place: bool = Field(False, description="agents may earn from where a patch lies in its crop, whatever is in it")
    epsilon_start: float = Field(1.0, ge=0, le=1, description="share of crops masked at random when the run begins")
    epsilon_end: float = Field(0.3, ge=0, le=1)
    epsilon_fall: float = Field(0.25, gt=0, le=1, description="share of the run in which it falls from start to end")
    variance_bins: int = Field(16, ge=1, description="bins of grey-value variance that noise is judged in")
    variance_range: tuple[PositiveFloat, PositiveFloat] = Field((1e-5, 0.1), description="where the bins begin and end")
    noise_decay: float = Field(0.99, ge=0, lt=1, description="memory of what loss is usual in a bin")
    patience: int = Field(
        500, ge=1, description="steps of agents below the entropy floor before masks become random for good"
    )

    @field_validator("variance_range")
    @classmethod
    def _ordered(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if ends[0] >= ends[1]:
            raise ValueError("the lower end first, then the upper")
        return ends


class RatioConfig(Settings):
    """The choice of the mask ratio by what it does for a downstream score."""

    ratios: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9), min_length=1, description="shares of hidden patches that are tried"
    )
    memory: float = Field(
        0.95, gt=0, lt=1, description="share of its weight that a score keeps when the next one comes"
    )
    curiosity: float = Field(1.0, ge=0, description="how much more a ratio is worth for being seldom tried")


class PretrainConfig(Settings):
    """Learning from volumes without labels."""

    method: str = Field("mae", description="mae, decision_mim, multiscale, or package.module:build")
    patch: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None, description="voxels that a U-Net's masks hide together; chosen from the voxel size when empty"
    )
    weights: tuple[PositiveFloat, ...] | None = Field(
        None, description="how often each volume is drawn, in the order of --image; by size when empty"
    )
    decoder_dim: int = Field(96, ge=6, description="width of the transformer that answers")
    decoder_depth: int = Field(1, ge=1)
    decoder_heads: int = Field(4, ge=1)
    shuffle_agents: bool = Field(False, description="control: agents' wishes are dealt out to other patches")
    crops: int = Field(16, ge=2, description="held-back crops that validation looks at")
    mask: MaskConfig = MaskConfig()
    target: TargetConfig = TargetConfig()
    agents: AgentsConfig = AgentsConfig()
    ratio: RatioConfig = RatioConfig()
    multiscale: MultiscaleConfig = MultiscaleConfig()
