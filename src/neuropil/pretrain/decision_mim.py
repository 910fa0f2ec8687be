"""Decision-based masked modelling (arXiv 2310.04148), as its specification corrects it: agents choose what is hidden.

Everything but the choice is that of `neuropil.pretrain.mae`; the choice is that of `AgentChooser`.
"""

from __future__ import annotations

from neuropil.config import Config
from neuropil.geometry import Float3
from neuropil.pretrain.choosers import AgentChooser
from neuropil.pretrain.mae import MaskedModelling
from neuropil.pretrain.networks import build_masked


def build(config: Config, voxel_size: Float3) -> MaskedModelling:
    """Masked modelling with agents, with fresh weights."""
    network = build_masked(config, voxel_size)
    places = network.places((1, 1, 1), voxel_size).shape[1]
    return MaskedModelling(network, AgentChooser(config, network.feature_dim, places), config)
