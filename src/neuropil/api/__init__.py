"""The verbs: what the command line does, as functions of the same names and words."""

from __future__ import annotations

from neuropil.api.inflating import inflate
from neuropil.api.learning import pretrain, train
from neuropil.api.looking import evaluate, info, report
from neuropil.api.segmenting import predict, segment, status
from neuropil.api.tracing import trace
from neuropil.api.trying import bench, demo, doctor

__all__ = [
    "bench",
    "demo",
    "doctor",
    "evaluate",
    "inflate",
    "info",
    "predict",
    "pretrain",
    "report",
    "segment",
    "status",
    "trace",
    "train",
]
