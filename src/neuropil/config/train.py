"""Settings of optimisation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from neuropil.config.base import Settings


class TrainConfig(Settings):
    """Optimisation."""

    steps: int = Field(20_000, ge=1)
    budget: float | None = Field(None, gt=0, description="seconds of wall time; when given, steps follow from it")
    batch: int = Field(1, ge=1)
    lr: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps")
    clip: float = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning rate of each layer relative to the one above it")
    freeze: Literal["none", "half", "encoder"] = Field("none", description="encoder layers that keep their weights")
    transfer: Literal["auto", "encoder", "all"] = Field(
        "auto", description="taken from --init: all if all fits, else the encoder; the encoder; or all that fits"
    )
    transfer_floor: float = Field(0.95, ge=0, le=1, description="least share of the encoder's weights that must fit")
    loss: Literal["bce", "mse"] = "bce"
    balance: bool = True
    dice: float = Field(0.0, ge=0)
    descriptors: float = Field(
        0.0, ge=0, description="neurons: weight of local shape descriptors as a second thing to learn"
    )
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: int = 0
    log_every: int = Field(20, ge=1)
    validations: int = Field(6, ge=1, description="how many times a run is validated by segmentation score")
    checkpoint_minutes: float = Field(5.0, gt=0)
    devices: int = Field(1, ge=1)
    threads: int | None = Field(None, ge=1)
    sinks: tuple[str, ...] = Field(
        (), description="where numbers go beside metrics.jsonl: tensorboard, wandb, package.module:function"
    )
