"""Files of 2-D vision transformers made by others, read under one naming: exactly, or with one clear error.

`files` opens them without ever executing anything, `names` knows what each family calls its tensors, `read` puts a
transformer together and says what was left out; `convnext` does so for the convolutional network of this name.
"""

from neuropil.models.checkpoints2d.convnext import ConvNeXt2d, convnext_family, read_convnext
from neuropil.models.checkpoints2d.files import open_weights
from neuropil.models.checkpoints2d.read import ViT2d, read_vit2d

__all__ = ["ConvNeXt2d", "ViT2d", "convnext_family", "open_weights", "read_convnext", "read_vit2d"]
