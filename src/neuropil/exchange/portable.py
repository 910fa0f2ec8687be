"""A run's network as a graph that needs no neuropil: traced (TorchScript), or exported (`torch.export`).

Both remember the files of the code that they came from. That is taken out again: it names folders of this machine.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuropil.errors import RunError
from neuropil.geometry import Int3
from neuropil.models import network_stride
from neuropil.plan import resolved
from neuropil.training.checkpoint import Run

#: Largest difference of probabilities between a network and its graph.
TOLERANCE = 1e-4
#: Least voxels along an axis of what graphs are made with.
_LEAST = 16


class Answer(nn.Module):
    """A network that answers with probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        """(B, 1, Z, Y, X) grey values as the run normalises them → (B, C, Z, Y, X) in 0..1."""
        out: Tensor = self.network(x_BCZYX).sigmoid()
        return out


@dataclass(frozen=True)
class Plan:
    """What extents a run's network takes, z, y, x.

    Parameters
    ----------
    stride
        They must be multiples of it.
    tile, overlap
        Of prediction.
    """

    stride: Int3
    tile: Int3
    overlap: Int3

    @property
    def least(self) -> Int3:
        """The smallest extent that leaves something when the overlap is cut off on both sides."""
        z, y, x = (
            s * max(-(-_LEAST // s), o // 2 * 2 // s + 1) for s, o in zip(self.stride, self.overlap, strict=True)
        )
        return z, y, x


@dataclass(frozen=True)
class Graph:
    """A graph, and what it takes.

    Parameters
    ----------
    program
        A ScriptModule or an ExportedProgram.
    any_extent, any_batch
        Whether it takes what it was not made with; else it takes `example` alone.
    example, answer
        What it was made with (B, 1, Z, Y, X), and the network's own answer to the first of the batch.
    """

    program: Any
    any_extent: bool
    any_batch: bool
    example_BCZYX: Tensor
    answer_BCZYX: Tensor


def plan_of(run: Run) -> Plan:
    """The extents that a run predicts with."""
    stride = network_stride(run.config.model, run.voxel_size)
    predict = resolved(run.config, run.voxel_size, stride).predict
    assert predict.tile is not None  # both filled by `resolved`
    assert predict.overlap is not None
    return Plan(stride, predict.tile, predict.overlap)


def answer_of(run: Run) -> Answer:
    """The run's network in evaluation mode, on the processor, in fp32.

    Raises
    ------
    RunError
        If it is an encoder, or has no weights.
    """
    answer = Answer(run.load_model("cpu")).eval().float()
    return answer.requires_grad_(requires_grad=False)


def traced(run: Run, grey: Callable[[Int3], Tensor]) -> Graph:
    """The network as TorchScript, which was compared with it.

    Parameters
    ----------
    grey
        Extent → normalised grey values (1, 1, Z, Y, X).

    Raises
    ------
    RunError
        If it cannot be traced, or its graph answers otherwise.
    """
    plan, answer = plan_of(run), answer_of(run)
    for extent in (plan.least, plan.tile):
        x_BCZYX = grey(extent)
        with _quiet(run, "traced"):
            program = torch.jit.trace(answer, x_BCZYX, check_trace=False)  # type: ignore[no-untyped-call]
        any_extent = _agrees(program, answer, grey(_other(extent, plan.stride)))
        if any_extent or extent == plan.tile:
            break
    any_batch = _agrees(program, answer, x_BCZYX.repeat(2, 1, 1, 1, 1))
    return _checked(run, Graph(program, any_extent, any_batch, x_BCZYX, answer(x_BCZYX)), program, answer)


def exported(run: Run, grey: Callable[[Int3], Tensor]) -> Graph:
    """The network as a program of `torch.export`, of the widest kind that is possible; see `traced`.

    Tried are any batch of any extent, then any batch of one extent, then one extent alone: a network may lay out its
    places (those of tokens, for instance) for the extent that it sees.
    """
    plan, answer = plan_of(run), answer_of(run)
    batch = torch.export.Dim("batch", min=1)
    axes = {n + 2: s * torch.export.Dim(a, min=1) for n, (a, s) in enumerate(zip("zyx", plan.stride, strict=True))}
    kinds: list[tuple[Int3, int, Any]] = [
        (plan.least, 2, ({0: batch, **axes},)),
        (plan.tile, 2, ({0: batch},)),
        (plan.tile, 1, None),
    ]
    for extent, count, free in kinds:
        x_BCZYX = grey(extent).repeat(count, 1, 1, 1, 1)
        try:
            with _quiet(run, "exported"):
                program = torch.export.export(answer, (x_BCZYX,), dynamic_shapes=free)
        except RunError:
            if free is None:
                raise
            continue
        module = program.module()
        any_extent = _agrees(module, answer, grey(_other(extent, plan.stride)))
        any_batch = _agrees(module, answer, x_BCZYX[:1].repeat(3, 1, 1, 1, 1))
        if any_extent >= (free is kinds[0][2]) and any_batch >= (free is not None):
            break
    return _checked(run, Graph(program, any_extent, any_batch, x_BCZYX, answer(x_BCZYX[:1])), module, answer)


def _checked(run: Run, graph: Graph, program: Any, answer: Answer) -> Graph:
    if not _agrees(program, answer, graph.example_BCZYX.flip(-1)):
        raise RunError(
            f"the graph of '{run.path}' answers otherwise than its network",
            f"the same within {TOLERANCE:g}",
            "share it --format neuropil",
        )
    return graph


def _agrees(program: Any, answer: Answer, x_BCZYX: Tensor) -> bool:
    """Whether a graph takes a batch, and answers as the network does."""
    with torch.no_grad():
        try:
            found = program(x_BCZYX)
        # graphs fail on other extents with whatever the first operation that does not fit raises
        except Exception:
            return False
        expected = answer(x_BCZYX)
    return found.shape == expected.shape and float((found - expected).abs().max()) <= TOLERANCE


def _other(extent: Int3, stride: Int3) -> Int3:
    z, y, x = (e + (n + 1) * s for n, (e, s) in enumerate(zip(extent, stride, strict=True)))
    return z, y, x


@contextmanager
def _quiet(run: Run, doing: str) -> Iterator[None]:
    """Turn what a compiler of graphs raises into one error, and leave out what it warns of: the graph is compared."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    # compilers of graphs raise errors of many libraries
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise RunError(
            f"the network of '{run.path}' ({run.config.model.name}) cannot be {doing} ({text})",
            "a network of tensor operations",
            "share it --format neuropil",
        ) from error


def save_script(program: Any, path: Path) -> None:
    """Write TorchScript without the names of the files that its code came from."""
    whole = path.with_name(path.name + ".whole")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(program, str(whole))  # type: ignore[no-untyped-call]
    # stored, not packed: torch maps the weights in its files into memory
    with zipfile.ZipFile(whole) as given, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as kept:
        for member in given.infolist():
            if not member.filename.endswith(".debug_pkl"):
                kept.writestr(member, given.read(member))
    whole.unlink()


def save_exported(program: Any, path: Path) -> None:
    """Write a program of `torch.export` without the names of the files that its code came from."""
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)
    torch.export.save(program, path)
