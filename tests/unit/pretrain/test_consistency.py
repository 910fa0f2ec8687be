"""The losses of two views against brute force and closed forms, and what is wrong with the released one."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from neuropil.errors import ConfigError
from neuropil.pretrain.consistency import comparisons, contrast, info_nce, published, restoration
from neuropil.pretrain.tokens import Layout, layout_of_places

TAU = 0.1


def _layout() -> Layout:
    """Two levels of a crop of (8, 16, 16) voxels: 2 x 4 x 4 cells of 4 voxels, and 4 x 8 x 8 of 2."""
    return layout_of_places([(2, 4, 4), (8, 16, 16)], [(4, 4, 4), (1, 1, 1)], (4, 8, 8))


def _views(n: int, dim: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, noise = torch.randn(n, dim, generator=generator), torch.randn(n, dim, generator=generator)
    return a, a + noise


def _brute_nce(a: Tensor, b: Tensor, apart: Tensor) -> float:
    cosine = [[float(torch.nn.functional.cosine_similarity(x, y, dim=0)) / TAU for y in b] for x in a]
    total = 0.0
    for i in range(len(a)):
        row = [cosine[i][j] for j in range(len(b)) if apart[i, j]]
        column = [cosine[j][i] for j in range(len(a)) if apart[j, i]]
        total += sum(math.log(sum(map(math.exp, line))) - cosine[i][i] for line in (row, column)) / 2
    return total / len(a)


@pytest.mark.parametrize("negatives", ["same_level", "same_sample", "batch"])
def test_pairs_and_loss_are_those_of_brute_force(negatives: str) -> None:
    layout, crops = layout_of_places([(1, 2, 3), (2, 4, 6)], [(4, 4, 4), (2, 2, 2)], (2, 4, 6)), 2
    assert layout.places_T3 is not None
    assert layout.cells_T3 is not None
    tokens = len(layout.level_T)
    places, cells, level = layout.places_T3.tolist(), layout.cells_T3.tolist(), layout.level_T.tolist()
    sets = comparisons(layout, crops, negatives)  # type: ignore[arg-type]
    allowed = torch.zeros(crops * tokens, crops * tokens, dtype=torch.bool)
    for s in sets:
        allowed[s.index_N[:, None], s.index_N] |= s.apart_NN
    for i, j in itertools.product(range(crops * tokens), repeat=2):
        (ci, ti), (cj, tj) = divmod(i, tokens), divmod(j, tokens)
        one = {"same_level": level[ti] == level[tj], "same_sample": ci == cj, "batch": True}[negatives]
        near = ci == cj and all(
            abs(p - q) <= max(u, v) for p, q, u, v in zip(places[ti], places[tj], cells[ti], cells[tj], strict=True)
        )
        assert bool(allowed[i, j]) == (i == j or (one and not near)), (i, j)
    assert sorted(torch.cat([s.index_N for s in sets]).tolist()) == list(range(crops * tokens))
    a, b = _views(crops * tokens, 8)
    loss = contrast(a.view(crops, tokens, 8), b.view(crops, tokens, 8), sets, TAU)
    assert float(loss) == pytest.approx(_brute_nce(a, b, allowed), rel=1e-4)


def test_a_place_is_never_told_from_its_neighbours() -> None:
    (coarse, fine) = comparisons(_layout(), 1, "same_level")
    inner = 1 * 64 + 3 * 8 + 3
    assert int((~fine.apart_NN[inner]).sum()) == 26
    assert fine.apart_NN[inner, inner]
    assert int((~coarse.apart_NN[0]).sum()) == 7  # a corner of 2 x 4 x 4


def test_places_without_anything_to_be_told_from_are_an_error() -> None:
    small = layout_of_places([(2, 2, 2)], [(8, 8, 8)], (4, 8, 8))
    with pytest.raises(ConfigError, match="nothing that it could be told from"):
        comparisons(small, 1, "same_level")
    assert len(comparisons(small, 2, "same_level")) == 1


def _gradient_of_cosines(loss: str, cosine_NN: Tensor) -> Tensor:
    """Of each entry of the matrix of cosines, as free numbers: tokens one-hot, so that a @ b.T is what is asked for."""
    free = cosine_NN.clone().requires_grad_()
    if loss == "info_nce":
        logits = free / TAU
        value = ((torch.logsumexp(logits, 1) + torch.logsumexp(logits, 0)) / 2 - logits.diagonal()).mean()
    else:
        value = torch.logsumexp(free.diagonal() / TAU, 0) - free.diagonal().mean() / TAU
    (gradient,) = torch.autograd.grad(value, free)
    return gradient


def test_what_belongs_together_is_pulled_and_the_rest_is_pushed() -> None:
    a, b = _views(24)
    a, b = (x / x.norm(dim=-1, keepdim=True) for x in (a, b))
    gradient = _gradient_of_cosines("info_nce", a @ b.T)
    off = ~torch.eye(24, dtype=torch.bool)
    assert (gradient.diagonal() < 0).all()
    assert (gradient[off] > 0).all()
    # the same through the function itself: a step along the gradient of b brings partners nearer, others farther
    moving = b.clone().requires_grad_()
    info_nce(a, moving, torch.ones(24, 24, dtype=torch.bool), TAU).mean().backward()
    assert moving.grad is not None
    after = torch.nn.functional.normalize(b - 0.5 * moving.grad, dim=-1)
    assert float((a @ after.T).diagonal().mean()) > float((a @ b.T).diagonal().mean()) + 0.01
    assert float((a @ after.T)[off].mean()) < float((a @ b.T)[off].mean()) + 1e-3


def test_the_released_formula_cannot_contrast() -> None:
    """A constant added to all cosines changes nothing; the gradient sums to zero; mismatched pairs have no part in it."""
    n = 64
    cosines = torch.linspace(-0.9, 0.4, n)

    def value(c_N: Tensor) -> float:
        a = torch.zeros(1, n, 2)
        a[..., 0] = 1
        b = torch.stack([c_N, (1 - c_N.square()).sqrt()], dim=-1)[None]
        return float(published(a, b, TAU))

    expected = float((torch.logsumexp(cosines / TAU, 0) - cosines / TAU).mean())
    assert value(cosines) == pytest.approx(expected, rel=1e-5)
    assert value(cosines + 0.5) == pytest.approx(value(cosines), rel=1e-4)
    # views that agree in nothing and views that agree in all are worth the same
    assert value(torch.full((n,), -1.0)) == pytest.approx(math.log(n), rel=1e-5)
    assert value(torch.full((n,), 1.0)) == pytest.approx(math.log(n), rel=1e-5)
    gradient = _gradient_of_cosines("published", torch.diag(cosines)).diagonal()
    assert float(gradient.sum()) == pytest.approx(0, abs=1e-5)
    assert (gradient > 0).any(), "some partners are pushed apart"
    # descent on the cosines themselves: their mean stays, their spread goes
    free = cosines.clone()
    for _ in range(2000):
        free -= 0.05 * _gradient_of_cosines("published", torch.diag(free)).diagonal()
    assert float(free.mean()) == pytest.approx(float(cosines.mean()), abs=1e-4)
    assert float(free.std()) < 0.1 * float(cosines.std())


def test_contrast_falls_where_the_released_formula_stays() -> None:
    """Partners that are strangers, against partners that are alike: the true loss tells them apart."""
    a, _ = _views(32)
    strangers, alike = torch.roll(a, 1, 0)[None], a[None]
    sets = comparisons(Layout(torch.zeros(32, dtype=torch.int64), None, None), 1, "batch")
    assert float(contrast(a[None], alike, sets, TAU)) < 0.1 < 5 < float(contrast(a[None], strangers, sets, TAU))
    assert float(published(a[None], alike, TAU)) == pytest.approx(math.log(32), rel=1e-4)


def test_identical_views_give_the_minimum() -> None:
    n = 16
    a = torch.eye(n)
    everything = torch.ones(n, n, dtype=torch.bool)
    least = float(info_nce(a, a, everything, TAU).mean())
    assert least == pytest.approx(math.log(1 + (n - 1) * math.exp(-1 / TAU)), abs=1e-6)
    for seed in range(20):
        other = a + 0.3 * torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
        assert float(info_nce(a, other, everything, TAU).mean()) > least
    image = torch.rand(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert float(restoration(image, image, "mse", 1.0)) == 0


def test_a_relative_error_of_one_is_the_answer_of_the_mean() -> None:
    clean = torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.2
    mean = torch.full_like(clean, float(clean.mean()))
    for contrast_ in (1.0, 2.0):
        image, answer = clean * contrast_, mean * contrast_
        assert float(restoration(answer, image, "relative", image.var(correction=0))) == pytest.approx(1, rel=1e-4)
    assert float(restoration(mean, clean, "mse", 7.0)) == pytest.approx(float(clean.var(correction=0)), rel=1e-4)
    assert float(restoration(clean + 0.25, clean, "l1", 7.0)) == pytest.approx(0.25, rel=1e-4)
    # beyond black and white nothing is asked
    assert float(restoration(torch.ones(3), torch.full((3,), 1.4), "mse", 1.0)) == 0
