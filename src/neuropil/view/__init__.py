"""Volumes, skeletons and meshes in Neuroglancer, layer by layer, each on its voxel size and in its place; napari too.

Everything that is shown is served as Neuroglancer's precomputed files, which are made when the browser asks for them:
nothing is read that is not looked at. An exported folder holds the same files.
"""

from neuropil.view.folder import export, exported
from neuropil.view.layers import Shown, layers_of
from neuropil.view.server import Viewing, serve, serve_folder

__all__ = ["Shown", "Viewing", "export", "exported", "layers_of", "serve", "serve_folder"]
