"""The verbs: what the command line does, as functions of the same names and words."""

from __future__ import annotations

from neuropil.api.downloading import download
from neuropil.api.inflating import inflate
from neuropil.api.learning import pretrain, train
from neuropil.api.looking import evaluate, info, report
from neuropil.api.planning import plan
from neuropil.api.segmenting import predict, segment, status
from neuropil.api.sharing import share, zoo
from neuropil.api.tracing import trace
from neuropil.api.trying import bench, demo, doctor
from neuropil.api.viewing import view

__all__ = [
    "bench",
    "demo",
    "doctor",
    "download",
    "evaluate",
    "inflate",
    "info",
    "plan",
    "predict",
    "pretrain",
    "report",
    "segment",
    "share",
    "status",
    "trace",
    "train",
    "view",
    "zoo",
]
