"""A vision transformer over patches of a volume, with places in nanometres.

Blocks are the pre-norm ones of Dosovitskiy et al. 2021 (arXiv 2010.11929) under their usual names, so that published
2-D weights can be brought in. Position codes are fixed sines and cosines (Vaswani et al. 2017, arXiv 1706.03762) of the
distance in nm, not of the number of the token, factored over z, y, x: there is no table, so weights serve any crop and,
where patches cover the same tissue, any voxel size. Encoding only the tokens that are kept is what makes masked
autoencoders cheap (He et al. 2022, arXiv 2111.06377).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from neuropil.config import ModelConfig, ViTConfig
from neuropil.errors import InputError
from neuropil.geometry import Float3, Int3
from neuropil.models.layers import fold
from neuropil.models.positions import position_codes
from neuropil.models.transformer import Block, Places, init_linear

#: A token covers about the tissue of a cube with this edge (nm): somewhat more than the calibre of a thin neurite...
TOKEN_NM = 80.0
#: ... but at least so many of the finest voxels along an edge, for volumes of coarse voxels, and at most so many.
TOKEN_VOXELS = (8, 16)


def build_encoder(config: ModelConfig, voxel_size: Float3) -> nn.Module:
    """The encoder (nm; z, y, x) that settings ask for; see `neuropil.models.build_encoder`."""
    return ViT3d(config.vit, voxel_size)


def plan_patch(voxel_size: Float3) -> Int3:
    """Voxels of a token (powers of two; z, y, x) from the voxel size (nm).

    Fine axes (voxels at most twice the finest) get about one edge, `TOKEN_NM`. Coarse axes get what brings the volume
    of tissue nearest to the cube of that edge.

    Examples
    --------
    >>> plan_patch((8, 8, 8)), plan_patch((40, 4, 4)), plan_patch((30, 6, 6))
    ((8, 8, 8), (4, 16, 16), (2, 16, 16))
    """
    fine = min(voxel_size)
    edge = max(TOKEN_NM, TOKEN_VOXELS[0] * fine)
    patch = [_power_of_two(edge / size) if size <= 2 * fine else 0 for size in voxel_size]
    coarse = patch.count(0)
    if coarse:
        covered = math.prod(p * s for p, s in zip(patch, voxel_size, strict=True) if p)
        share = (edge**3 / covered) ** (1 / coarse)
        patch = [p or _power_of_two(share / size) for p, size in zip(patch, voxel_size, strict=True)]
    return patch[0], patch[1], patch[2]


def _power_of_two(target: float) -> int:
    power: int = 2 ** max(0, round(math.log2(target)))
    return min(power, TOKEN_VOXELS[1])


class PatchEmbed(nn.Module):
    """Voxels (…, P) of a patch, in z, y, x order, to a token (…, D)."""

    def __init__(self, voxels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(voxels, dim)
        nn.init.xavier_uniform_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out


class ViT3d(nn.Module):
    """Image (B, 1, Z, Y, X) to tokens (B, N, D), N in C order of the grid of patches.

    Parameters
    ----------
    config
        Sizes; see `ViTConfig`.
    voxel_size
        nm, z, y, x; decides the patch where the settings leave it empty, and the scale of positions.

    Attributes
    ----------
    dim, depth
        Width of tokens, number of blocks.
    patch, stride
        Voxels of a token, z, y, x; extents must be multiples of it.
    key_prefix
        What a network puts before the names of its encoder's tensors.
    """

    key_prefix = "encoder."

    def __init__(self, config: ViTConfig, voxel_size: Float3) -> None:
        super().__init__()
        self.dim, self.depth = config.dim, config.depth
        self.voxel_size = voxel_size
        self.patch: Int3 = config.patch or plan_patch(voxel_size)
        self.stride = self.patch
        self._wavelengths_nm = config.wavelengths_nm
        self._checkpointing = config.checkpointing
        self.patch_embed = PatchEmbed(math.prod(self.patch), config.dim)
        self.prefix_tokens = (
            nn.Parameter(torch.zeros(config.prefix_tokens, config.dim)) if config.prefix_tokens else None
        )
        if self.prefix_tokens is not None:
            nn.init.trunc_normal_(self.prefix_tokens, std=0.02)
        self.blocks = nn.ModuleList(
            Block(config, drop_path=config.drop_path * n / max(1, config.depth - 1)) for n in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim, eps=config.eps)
        self.blocks.apply(init_linear)

    @property
    def layers(self) -> int:
        """Number of the last layer; see `layer_of`."""
        return self.depth + 1

    def layer_of(self, name: str) -> int:
        """Layer of a parameter: 0 embeds, then one for each block; the final norm is the last."""
        part, _, rest = name.partition(".")
        if part == "blocks":
            return int(rest.partition(".")[0]) + 1
        return self.layers if part == "norm" else 0

    def encoder_names(self) -> set[str]:
        """Names of the state that pretraining makes: all."""
        return set(self.state_dict())

    def no_decay(self) -> set[str]:
        """Names of parameters that weight decay must not touch: biases, gains, and tokens without a place."""
        return {name for name, p in self.named_parameters() if p.ndim == 1 or name == "prefix_tokens"}

    def grid(self, shape_ZYX: Int3) -> Int3:
        """Number of patches along each axis of a crop.

        Raises
        ------
        InputError
            If the crop is not made of whole patches.
        """
        if any(n < p or n % p for n, p in zip(shape_ZYX, self.patch, strict=True)):
            raise InputError(
                f"a crop of {tuple(shape_ZYX)} voxels",
                f"multiples of the patch {self.patch}",
                "change data.crop or model.vit.patch",
            )
        z, y, x = (n // p for n, p in zip(shape_ZYX, self.patch, strict=True))
        return z, y, x

    def positions(self, grid: Int3, voxel_size: Float3 | None = None) -> Tensor:
        """Codes (N, D) of the centres of patches, in nm from the corner of the crop.

        `voxel_size` is that of the crop, where it is not the encoder's own.
        """
        size = self.voxel_size if voxel_size is None else voxel_size
        z, y, x = (p * s for p, s in zip(self.patch, size, strict=True))
        return position_codes(grid, (z, y, x), self.dim, self._wavelengths_nm, self.norm.weight.device)

    def encode(self, x_BCZYX: Tensor, keep_BK: Tensor | None = None, *, voxel_size: Float3 | None = None) -> Tensor:
        """Tokens of the patches that are kept; the others cost nothing and are seen by none.

        Parameters
        ----------
        x_BCZYX
            Grey values.
        keep_BK
            int64 numbers of patches, K of each crop; all, in order, when None.
        voxel_size
            nm, z, y, x, of the crops, where it is not the encoder's own.

        Returns
        -------
        Tensor
            (B, K, D), after the final norm; tokens without a place are left out.

        Raises
        ------
        InputError
            If the crop is not made of whole patches, or `keep_BK` is not int64 with one row for each crop.
        """
        tokens, places = self._embed(x_BCZYX, keep_BK, voxel_size), self._places(x_BCZYX, keep_BK)
        for block in self.blocks:
            tokens = self._pass(block, tokens, places)
        return self._placed(self.norm(tokens))

    def shallow(self, x_BCZYX: Tensor, depth: int, *, voxel_size: Float3 | None = None) -> Tensor:
        """Tokens (B, N, D) of all patches after the first `depth` blocks; the later ones are not computed."""
        tokens, places = self._embed(x_BCZYX, None, voxel_size), self._places(x_BCZYX, None)
        for block in self.blocks[:depth]:
            tokens = self._pass(block, tokens, places)
        return self._placed(tokens)

    def taps(self, x_BCZYX: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Tokens (B, N, D) after each of so many blocks (1..depth), first ones first; the last block's are normed.

        Raises
        ------
        InputError
            If there is no such block, or the crop is not made of whole patches.
        """
        if not set(blocks) <= set(range(1, self.depth + 1)):
            raise InputError(f"tokens after blocks {list(blocks)}", f"numbers from 1 to {self.depth}")
        tokens, places = self._embed(x_BCZYX, None, None), self._places(x_BCZYX, None)
        found = []
        for n, block in enumerate(self.blocks, start=1):
            tokens = self._pass(block, tokens, places)
            if n in blocks:
                found.append(self._placed(self.norm(tokens) if n == self.depth else tokens))
        return found

    def pyramid(self, x_BCZYX: Tensor) -> list[tuple[Tensor, Int3]]:
        """Features (B, D, Z, Y, X) with their stride: of one resolution only."""
        grid = self.grid(_extent(x_BCZYX))
        tokens_BZYXD = self.encode(x_BCZYX).view(len(x_BCZYX), *grid, self.dim)
        return [(tokens_BZYXD.permute(0, 4, 1, 2, 3), self.patch)]

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        """`encode` of all patches."""
        return self.encode(x_BCZYX)

    def _embed(self, x_BCZYX: Tensor, keep_BK: Tensor | None, voxel_size: Float3 | None) -> Tensor:
        grid = self.grid(_extent(x_BCZYX))
        patches_BNP = fold(x_BCZYX, self.patch).permute(0, 2, 3, 4, 1).flatten(1, 3)
        places = self.positions(grid, voxel_size)
        if keep_BK is not None:
            if keep_BK.dtype != torch.int64 or keep_BK.ndim != 2 or len(keep_BK) != len(x_BCZYX):
                raise InputError(
                    f"keep with shape {tuple(keep_BK.shape)} and type {keep_BK.dtype} for {len(x_BCZYX)} crops",
                    "int64 numbers of patches (B, K)",
                )
            patches_BNP = patches_BNP.gather(1, keep_BK[:, :, None].expand(-1, -1, patches_BNP.shape[2]))
            places = places[keep_BK]
        tokens: Tensor = self.patch_embed(patches_BNP) + places
        if self.prefix_tokens is None:
            return tokens
        return torch.cat([self.prefix_tokens.expand(len(tokens), -1, -1).to(tokens.dtype), tokens], dim=1)

    def _places(self, x_BCZYX: Tensor, keep_BK: Tensor | None) -> Places | None:
        """What blocks are told of places: nothing, for the embedding says it all."""
        return None

    def _pass(self, block: nn.Module, tokens: Tensor, places: Places | None) -> Tensor:
        if self._checkpointing and self.training and torch.is_grad_enabled():
            again: Tensor = checkpoint(block, tokens, places, use_reentrant=False)
            return again
        out: Tensor = block(tokens, places)
        return out

    def _placed(self, tokens: Tensor) -> Tensor:
        return tokens if self.prefix_tokens is None else tokens[:, len(self.prefix_tokens) :]


def _extent(x_BCZYX: Tensor) -> Int3:
    z, y, x = x_BCZYX.shape[2:]
    return int(z), int(y), int(x)
