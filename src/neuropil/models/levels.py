"""Where a network pools and how large its kernels are, from the voxel size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neuropil.geometry import Float3, Int3


@dataclass(frozen=True)
class Level:
    """Geometry of one resolution: how it is pooled from the one above, and its kernel."""

    factor: Int3
    kernel: Int3
    stride: Int3


def plan_levels(voxel_size: Float3, count: int) -> tuple[Level, ...]:
    """Pooling and kernels from the voxel size (nm; z, y, x).

    An axis is pooled only while its voxel is less than twice the finest one.
    """
    factors: list[Int3] = [(1, 1, 1)]
    size = list(voxel_size)
    for _ in range(count - 1):
        fine = min(size)
        z, y, x = (2 if s < 2 * fine else 1 for s in size)
        factors.append((z, y, x))
        size = [s * f for s, f in zip(size, factors[-1], strict=True)]
    return with_factors(voxel_size, factors)


def plan_to(voxel_size: Float3, patch: Int3) -> tuple[Level, ...]:
    """Pooling that ends exactly at `patch`; axes with fewer halvings begin later, so coarse axes are pooled last.

    Examples
    --------
    >>> [level.stride for level in plan_to((40, 4, 4), (4, 16, 16))]
    [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8), (4, 16, 16)]
    """
    primes = [_primes(p) for p in patch]
    depth = max(len(p) for p in primes)
    z, y, x = ([1] * (depth - len(p)) + p for p in primes)
    return with_factors(voxel_size, [(1, 1, 1), *zip(z, y, x, strict=True)])


def with_factors(voxel_size: Float3, factors: Sequence[Int3]) -> tuple[Level, ...]:
    """The levels that one is pooled from the other by these factors, finest first; kernels from the voxel size."""
    stride, levels = (1, 1, 1), []
    for factor in factors:
        stride = (stride[0] * factor[0], stride[1] * factor[1], stride[2] * factor[2])
        size = [v * s for v, s in zip(voxel_size, stride, strict=True)]
        # the kernel must see the next section somewhat before sections can be merged
        kz, ky, kx = (3 if s <= 4 * min(size) else 1 for s in size)
        levels.append(Level(factor, (kz, ky, kx), stride))
    return tuple(levels)


def _primes(number: int) -> list[int]:
    found, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found
