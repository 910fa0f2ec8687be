"""Settings of work that is cut into blocks: where it runs, and how much it may take.

None of them changes a result, but for `threads`: what a network predicts in fp32 may depend on it in the last bit.
"""

from __future__ import annotations

from pydantic import Field, PositiveInt

from neuropil.config.base import Settings


class JobsConfig(Settings):
    """Work in blocks: how much memory it may take, and who does it."""

    memory_gb: float = Field(
        4.0, gt=0, description="of all workers together; volumes that need more are segmented in blocks"
    )
    block: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None, description="voxels z, y, x of a block; chosen from the memory when empty"
    )
    workers: PositiveInt = Field(1, description="processes, or workers that Dask starts")
    dask: str | None = Field(None, description="local, tcp://host:port, or a batch system such as slurm:queue=short")
    threads: PositiveInt | None = Field(
        None, description="of a network in each worker; when empty, the workers of a machine share its cores"
    )
    attempts: PositiveInt = Field(3, description="tries of a task whose worker dies")
    stale_s: float = Field(120.0, gt=0, description="an untouched lock of another machine is dead after this long")
    poll_s: float = Field(2.0, gt=0, description="how often one shard looks whether the others are done")
