"""From a run's configuration to how this machine predicts."""

from __future__ import annotations

from neuropil.config import Config
from neuropil.geometry import Int3
from neuropil.infer.devices import default_device, precision_of
from neuropil.infer.predict import PredictSettings


def predict_settings(config: Config, stride: Int3) -> PredictSettings:
    """How to predict with a resolved configuration and a network of the given stride (z, y, x)."""
    device = default_device()
    predict = config.predict
    assert predict.tile is not None  # both filled by `neuropil.plan.resolved`
    assert predict.overlap is not None
    return PredictSettings(
        tile=predict.tile,
        overlap=predict.overlap,
        multiple_of=stride,
        block=predict.block,
        memory_bytes=int(predict.memory_gb * 2**30),
        tta=predict.tta,
        batch=predict.batch,
        precision=precision_of(config.train.precision, device),
        device=str(device),
    )
