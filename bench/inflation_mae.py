"""A small 2-D vision transformer learns from natural images by masked autoencoding, and is kept under DINO's names.

Masked autoencoders: He et al. 2022 (arXiv 2111.06377), on the photographs of NEUROPIL_DATA. The last fifty are held
back; of them only the loss is reported. What a step draws depends on seed and step, so a killed run goes on as it was.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import zipfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from neuropil.config import ViTConfig
from neuropil.infer.devices import cpu_has_bf16
from neuropil.models.transformer import Block, init_linear
from neuropil.models.vit2d import Planar, PlanarViT
from neuropil.training.schedule import PROBE, Schedule
from runs import keep

ARCHIVE = "natural_images/natural_images_1000.zip"
HELD = 50
#: Of the colours of ImageNet, as `neuropil inflate` takes for granted.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Share of the shorter side that a crop has.
SMALLEST = 0.5
KEEP_EVERY = 60.0

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Masked:
    """How a 2-D transformer is pretrained.

    Parameters
    ----------
    shape
        Its sizes; crops have exactly its grid of patches.
    dim, depth
        Width and blocks of the part that answers.
    batch, steps, lr, weight_decay
        Of optimisation.
    masked
        Share of the patches that are hidden.
    """

    shape: Planar
    dim: int
    depth: int
    batch: int
    steps: int
    lr: float
    weight_decay: float = 0.05
    masked: float = 0.75

    @property
    def side(self) -> tuple[int, int]:
        """Pixels of a crop, y, x."""
        assert self.shape.grid is not None
        (py, px), (gy, gx) = self.shape.patch, self.shape.grid
        return py * gy, px * gx


class MaskedImages(nn.Module):
    """The transformer, and a thin one that answers for the hidden patches."""

    def __init__(self, how: Masked) -> None:
        super().__init__()
        shape = how.shape
        assert shape.grid is not None
        self.encoder = PlanarViT(shape)
        self.patch = shape.patch
        self.enter = nn.Linear(shape.dim, how.dim)
        self.hidden = nn.Parameter(torch.zeros(how.dim))
        self.places = nn.Parameter(torch.empty(shape.grid[0] * shape.grid[1], how.dim))
        nn.init.trunc_normal_(self.places, std=0.02)
        sizes = ViTConfig(dim=how.dim, depth=how.depth, heads=max(1, how.dim // 32))
        self.blocks = nn.ModuleList(Block(sizes, drop_path=0.0) for _ in range(how.depth))
        self.norm = nn.LayerNorm(how.dim, eps=1e-6)
        self.answer = nn.Linear(how.dim, shape.channels * shape.patch[0] * shape.patch[1])
        for part in (self.enter, self.blocks, self.answer):
            part.apply(init_linear)

    def forward(self, x_BCYX: Tensor, order_BN: Tensor, kept: int) -> Tensor:
        """Mean squared error on the standardised pixels of what is hidden: all but the first `kept` of an order."""
        seen_BK = order_BN[:, :kept]
        tokens_BKD = self.enter(self.encoder(x_BCYX, seen_BK)[:, self.encoder.shape.prefix :])
        full_BND = self.hidden.to(tokens_BKD.dtype).expand(len(x_BCYX), order_BN.shape[1], -1)
        full_BND = full_BND.scatter(1, seen_BK[:, :, None].expand(-1, -1, tokens_BKD.shape[2]), tokens_BKD)
        y_BND = full_BND + self.places
        for block in self.blocks:
            y_BND = block(y_BND)
        (py, px), hidden_BM = self.patch, order_BN[:, kept:]
        pixels_BNP = F.unfold(x_BCYX, (py, px), stride=(py, px)).transpose(1, 2).float()
        pixels_BNP = (pixels_BNP - pixels_BNP.mean(2, keepdim=True)) / (pixels_BNP.var(2, keepdim=True) + 1e-6).sqrt()
        answer_BNP = self.answer(self.norm(y_BND)).float()
        each_BN = (answer_BNP - pixels_BNP).square().mean(2)
        return each_BN.gather(1, hidden_BM).mean()


def pictures() -> list[Picture]:
    """(Y, X, 3) photographs, in the order of their names."""
    found = []
    with zipfile.ZipFile(Path(os.environ["NEUROPIL_DATA"]) / ARCHIVE) as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith(".jpg")):
            picture = np.asarray(imagecodecs.jpeg_decode(archive.read(name)))
            found.append(np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture)
    return found


def normalised(crop_BCYX: Tensor) -> Tensor:
    """Grey values 0..255 as the transformer is fed with them."""
    mean, std = (torch.tensor(values)[None, :, None, None] for values in (MEAN, STD))
    return (crop_BCYX / 255 - mean) / std


def drawn(photographs: list[Picture], how: Masked, rng: np.random.Generator) -> Tensor:
    """A batch (B, 3, Y, X): square crops of random pictures, resized, mirrored by chance."""
    crops = []
    for i in rng.integers(len(photographs), size=how.batch):
        picture = photographs[i]
        short = min(picture.shape[:2])
        edge = int(rng.integers(round(SMALLEST * short), short, endpoint=True))
        y, x = (int(rng.integers(n - edge, endpoint=True)) for n in picture.shape[:2])
        cut = picture[y : y + edge, x : x + edge]
        cut = cut[:, ::-1] if rng.random() < 0.5 else cut
        crops.append(_resized(cut, how.side))
    return normalised(torch.cat(crops))


def _resized(cut_YXC: Picture, side: tuple[int, int]) -> Tensor:
    one = torch.from_numpy(np.ascontiguousarray(cut_YXC)).permute(2, 0, 1)[None].float()
    return F.interpolate(one, size=side, mode="bilinear", antialias=True)


def orders(count: int, how: Masked, rng: np.random.Generator) -> Tensor:
    """(B, N) patches of each crop in random order."""
    assert how.shape.grid is not None
    patches = how.shape.grid[0] * how.shape.grid[1]
    return torch.from_numpy(rng.random((count, patches)).argsort(axis=1))


def batches(photographs: list[Picture], how: Masked, first: int, *, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Crops and orders for one step after another, from `first` on; the same whatever the number of threads."""

    def one(step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([0, step])
        return drawn(photographs, how, rng), orders(how.batch, how, rng)

    if not workers:
        yield from map(one, itertools.count(first))
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(one, step) for step in range(first, first + 2 * workers))
        for step in itertools.count(first + 2 * workers):
            yield ahead.popleft().result()
            ahead.append(pool.submit(one, step))


@torch.no_grad()
def held_loss(net: MaskedImages, photographs: list[Picture], how: Masked, device: str) -> float:
    """The loss on the middle of pictures that are not learned from, the same patches hidden every time."""
    rng = np.random.default_rng(0)
    crops = []
    for picture in photographs:
        short = min(picture.shape[:2])
        y, x = ((n - short) // 2 for n in picture.shape[:2])
        crops.append(_resized(picture[y : y + short, x : x + short], how.side))
    order_BN = orders(len(crops), how, rng)
    kept = round(order_BN.shape[1] * (1 - how.masked))
    return float(net(normalised(torch.cat(crops)).to(device), order_BN.to(device), kept))


def fresh(how: Masked, seed: int) -> MaskedImages:
    """A network with random weights."""
    torch.manual_seed(seed)
    return MaskedImages(how)


def publish(encoder: PlanarViT, path: Path) -> None:
    """The weights as a file that `neuropil inflate` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: t.detach().cpu().contiguous() for name, t in encoder.published().items()}, partial)
    partial.replace(path)


def pretrain(how: Masked, folder: Path, budget: float | None, device: str) -> dict[str, Any]:
    """Learn for `budget` seconds, or `how.steps`, or go on with it; the account, kept beside `vit2d.safetensors`."""
    account, state = folder / "pretrain.json", folder / "state.pt"
    if account.is_file():
        known: dict[str, Any] = json.loads(account.read_text())
        return known
    folder.mkdir(parents=True, exist_ok=True)
    photographs = pictures()
    learned, held = photographs[:-HELD], photographs[-HELD:]
    net = fresh(how, 0).to(device)
    wide = [p for p in net.parameters() if p.ndim > 1]
    narrow = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": wide, "weight_decay": how.weight_decay}, {"params": narrow, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=how.lr, betas=(0.9, 0.95))
    schedule, first = Schedule(None if budget else how.steps, budget, 0.05, how.lr), held_loss(net, held, how, device)
    if state.is_file():
        saved = torch.load(state, weights_only=True)
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule, first = Schedule(**saved["schedule"]), saved["first"]
    kept_at = time.monotonic()
    stream = batches(learned, how, schedule.step, workers=0 if device == "cpu" else os.cpu_count() or 1)
    while not schedule.done:
        started = time.monotonic()
        loss = _step(net, optimiser, schedule, next(stream), how, device)
        schedule.elapsed += time.monotonic() - started
        if schedule.total is None and schedule.step == PROBE // 2:
            schedule.mark()
        if schedule.total is None and schedule.step >= PROBE:
            schedule.fit_to_budget(schedule.seconds_per_step, 0)
        if schedule.step % 100 == 0:
            print(f"step {schedule.step} of {schedule.total}: loss {loss:.4f}", flush=True)
        if time.monotonic() - kept_at > KEEP_EVERY:
            _save(state, net, optimiser, schedule, first)
            kept_at = time.monotonic()
    publish(net.encoder, folder / "vit2d.safetensors")
    found = {
        "images": len(learned),
        "steps": schedule.step,
        "batch": how.batch,
        "seconds": round(schedule.elapsed),
        "weights": sum(p.numel() for p in net.encoder.parameters()),
        "held_loss": {"first": round(first, 4), "last": round(held_loss(net, held, how, device), 4)},
    }
    keep(found, account)
    return found


def _step(
    net: MaskedImages,
    optimiser: torch.optim.Optimizer,
    schedule: Schedule,
    batch: tuple[Tensor, Tensor],
    how: Masked,
    device: str,
) -> float:
    x_BCYX, order_BN = batch
    kept = round(order_BN.shape[1] * (1 - how.masked))
    for group in optimiser.param_groups:
        group["lr"] = schedule.learning_rate()
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda" or cpu_has_bf16()):
        loss = net(x_BCYX.to(device), order_BN.to(device), kept)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad()
    schedule.step += 1
    return float(loss.detach())


def _save(path: Path, net: MaskedImages, optimiser: torch.optim.Optimizer, schedule: Schedule, first: float) -> None:
    state = {
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state(),
        "first": first,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)
