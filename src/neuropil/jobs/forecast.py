"""What work in blocks will take, said before it starts: blocks, memory, disk, and time once a block was measured."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from neuropil.config.objects import ObjectsConfig
from neuropil.errors import InputError, VolumeError
from neuropil.geometry import Box, Int3
from neuropil.jobs.cells import Cells
from neuropil.post.blocks import Cutting, read_box

#: Bytes a voxel that is read costs at the most: edges, heights, distances, codes; and each used channel on top.
VOXEL_BYTES, CHANNEL_BYTES = 18, 3
#: Bytes a voxel of the block itself costs on top: pieces, forest, contacts, and what is being compressed.
OWN_BYTES = 12
#: Bytes a voxel of a cell costs at the most, and bytes on disk a voxel of its level: skeletons, meshes.
CELL_BYTES, OBJECT_DISK = {"skeletons": 24, "meshes": 60}, {"skeletons": 0.5, "meshes": 3.0}
#: Of a process before it works: the interpreter and its libraries.
PROCESS_BYTES = 512 * 2**20
#: Least bytes on disk a voxel: of pieces, of labels with their pyramid, and of each predicted channel.
PIECE_DISK, LABEL_DISK, CHANNEL_DISK = 0.08, 0.06, 0.25
#: What precomputed labels take in addition: their codec is not followed by a general one.
PRECOMPUTED_DISK = 0.1
_LARGEST = 512
_FIRST_CHUNK = 64


@dataclass(frozen=True)
class Forecast:
    """The demands of one piece of work.

    Parameters
    ----------
    blocks, voxels
        How many there are.
    memory_bytes
        Of one worker.
    disk_bytes
        At least.
    """

    blocks: int
    voxels: int
    memory_bytes: int
    disk_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.voxels / 1e6:.4g} Mvoxel in {self.blocks} blocks; about {self.memory_bytes / 2**30:.2f} GiB a "
            f"worker; at least {self.disk_bytes / 2**30:.2g} GiB of disk"
        )


def forecast(volume: Box, block: Int3, cut: Cutting, predicted: int) -> Forecast:
    """What segmenting a volume in blocks will take; `predicted` channels are predicted first."""
    count = math.prod(-(-n // b) for n, b in zip(volume.shape, block, strict=True))
    disk = volume.size * (PIECE_DISK + LABEL_DISK + CHANNEL_DISK * predicted)
    return Forecast(count, volume.size, block_bytes(volume, block, cut), round(disk))


def block_bytes(volume: Box, block: Int3, cut: Cutting) -> int:
    """Most bytes of a process that works on one block."""
    z, y, x = (min(b, n) for b, n in zip(block, volume.shape, strict=True))
    middle = [max(a, a + (n - b) // 2) for a, n, b in zip(volume.start, volume.shape, (z, y, x), strict=True)]
    own = Box((middle[0], middle[1], middle[2]), (middle[0] + z, middle[1] + y, middle[2] + x), volume.voxel_size)
    read = read_box(cut, own, volume).size
    return PROCESS_BYTES + read * (VOXEL_BYTES + CHANNEL_BYTES * len(cut.channels)) + own.size * OWN_BYTES


def whole_bytes(volume: Box, channels: int) -> int:
    """Most bytes of a process that segments a volume as one."""
    return PROCESS_BYTES + volume.size * (VOXEL_BYTES + CHANNEL_BYTES * channels + OWN_BYTES)


def fitting_block(volume: Box, cut: Cutting, memory_bytes: int) -> Int3:
    """The largest block that one worker has memory for: chunks, doubled along the shortest axis (nm) while it fits.

    Raises
    ------
    InputError
        If not even the smallest fits.
    """
    wide = volume.voxel_size[0] >= 3 * max(volume.voxel_size[1:])
    block: Int3 = (16, 128, 128) if wide else (_FIRST_CHUNK,) * 3
    if block_bytes(volume, block, cut) > memory_bytes:
        raise InputError(
            f"{memory_bytes / 2**30:.2f} GiB for each worker",
            f"at least {block_bytes(volume, block, cut) / 2**30:.2f} GiB for blocks of {block}",
            "allow more --memory, or use fewer --workers",
        )
    while True:
        able = [a for a in range(3) if block[a] < min(_LARGEST, volume.shape[a])]
        able.sort(key=lambda a: block[a] * volume.voxel_size[a])
        for axis in able:
            z, y, x = (b * (2 if a == axis else 1) for a, b in enumerate(block))
            if block_bytes(volume, (z, y, x), cut) <= memory_bytes:
                block = (z, y, x)
                break
        else:
            return block


def with_objects(plain: Forecast, cells: Cells, config: ObjectsConfig, *, precomputed: bool) -> Forecast:
    """The same with what is made of objects, and for labels in another format."""
    made = [name for name in CELL_BYTES if getattr(config, name)]
    disk = sum(OBJECT_DISK[name] for name in made) * math.prod(cells.level.shape)
    disk += plain.voxels * PRECOMPUTED_DISK * precomputed
    memory = max(plain.memory_bytes, cells_bytes(cells, config))
    return replace(plain, memory_bytes=memory, disk_bytes=plain.disk_bytes + round(disk))


def cells_bytes(cells: Cells, config: ObjectsConfig) -> int:
    """Most bytes of a process that works on one cell; 0 if nothing is made of objects."""
    voxels = math.prod(min(s + 1, n) for s, n in zip(cells.size, cells.level.shape, strict=True))
    each = max((CELL_BYTES[name] for name in CELL_BYTES if getattr(config, name)), default=0)
    return PROCESS_BYTES + voxels * each if each else 0


def require_cells(cells: Cells, config: ObjectsConfig, memory_bytes: int) -> None:
    """Refuse cells that one worker has no memory for.

    Raises
    ------
    InputError
        If they need more.
    """
    need = cells_bytes(cells, config)
    if need > memory_bytes:
        raise InputError(
            f"{memory_bytes / 2**30:.2f} GiB for each worker, with skeletons or meshes",
            f"at least {need / 2**30:.2f} GiB for cells of {cells.size}",
            "allow more --memory, use fewer --workers, or smaller --set objects.cell",
        )


def require_disk(folder: Path, need_bytes: int) -> None:
    """Refuse what cannot fit.

    Raises
    ------
    VolumeError
        If there is less room than needed.
    """
    free = shutil.disk_usage(folder).free
    if need_bytes > free:
        raise VolumeError(
            f"'{folder}' has {free / 2**30:.3g} GiB of free disk", f"at least {need_bytes / 2**30:.3g} GiB", "make room"
        )
