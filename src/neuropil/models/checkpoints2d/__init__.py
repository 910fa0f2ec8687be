"""Files of 2-D vision transformers made by others, read under one naming: exactly, or with one clear error.

`files` opens them without ever executing anything, `names` knows what each family calls its tensors, `read` puts a
transformer together and says what was left out.
"""

from neuropil.models.checkpoints2d.read import ViT2d, read_convnext, read_vit2d

__all__ = ["ViT2d", "read_convnext", "read_vit2d"]
