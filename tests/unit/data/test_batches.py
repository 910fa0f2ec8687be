import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from neuropil.affinities import NEAREST
from neuropil.config import DataConfig
from neuropil.data.batches import Order, ThreadBatches, make_loader
from neuropil.data.sampling import InMemory, Sampler, prepare
from neuropil.data.targets import AffinityTargets
from neuropil.errors import InputError

KINDS = [(0, "auto"), (1, "thread"), (2, "thread"), (1, "process"), (2, "process")]


def sampler(pair, **changes):
    config = DataConfig(**changes)
    return Sampler(prepare([pair], config), (12, 16, 16), AffinityTargets.of(NEAREST, config, (8, 8, 8)), config, 5)


def take(source, order, workers, kind):
    return list(make_loader(source, order, DataConfig(workers=workers, worker_kind=kind)))


def test_batches_are_tensors_of_the_promised_shapes(make_pair):
    (batch,) = take(sampler(make_pair()), Order(2, 0, 1), 0, "auto")
    assert {k: (tuple(v.shape), v.dtype) for k, v in batch.items()} == {
        "image": ((2, 1, 12, 16, 16), torch.float32),
        "affinities": ((2, 3, 12, 16, 16), torch.uint8),
        "valid": ((2, 3, 12, 16, 16), torch.uint8),
        "index": ((2,), torch.int64),
    }


@pytest.mark.parametrize(("workers", "kind"), KINDS)
def test_order_and_content_do_not_depend_on_workers(make_pair, workers, kind):
    source = sampler(make_pair())
    batches = take(source, Order(2, 0, 5), workers, kind)
    assert [b["index"].tolist() for b in batches] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    for batch in batches:
        for row, i in enumerate(batch["index"].tolist()):
            for key, value in source(i).items():
                np.testing.assert_array_equal(batch[key][row].numpy(), value)


@pytest.mark.parametrize(("workers", "kind"), KINDS)
def test_resuming_continues_the_same_sequence(make_pair, workers, kind):
    source = sampler(make_pair())
    whole = take(source, Order(2, 0, 4), 0, "auto")
    rest = take(source, Order(2, 2, 4), workers, kind)
    for a, b in zip(whole[2:], rest, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_processes_read_volumes_that_are_not_cached(make_pair, tmp_path):
    import h5py

    from neuropil.volume import open_volume

    image, labels = make_pair()
    with h5py.File(tmp_path / "v.h5", "w") as file:
        for name, volume in (("raw", image), ("labels", labels)):
            file[name] = volume.numpy()
            file[name].attrs["resolution"], file[name].attrs["kind"] = volume.voxel_size, volume.kind
    pair = tuple(open_volume(f"{tmp_path}/v.h5:{name}") for name in ("raw", "labels"))
    source = sampler(pair, cache_gb=0)
    (batch,) = take(source, Order(1, 3, 4), 1, "process")
    np.testing.assert_array_equal(batch["image"][0].numpy(), sampler((image, labels))(3)["image"])


def test_ranks_share_the_samples_of_a_step():
    ranks = [list(Order(2, 1, 3, rank, 3)) for rank in range(3)]
    assert ranks == [[[6, 7], [12, 13]], [[8, 9], [14, 15]], [[10, 11], [16, 17]]]


def test_an_endless_order_is_made_on_demand(make_pair):
    loader = iter(make_loader(sampler(make_pair()), Order(1, 10), DataConfig(workers=1)))
    assert [next(loader)["index"].item() for _ in range(3)] == [10, 11, 12]
    loader.close()


def test_leaving_early_ends_the_threads(make_pair):
    loader = iter(make_loader(sampler(make_pair()), Order(1), DataConfig(workers=2, worker_kind="thread")))
    next(loader)
    loader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("neuropil-loader")]


@pytest.mark.parametrize(("workers", "kind"), [(0, "auto"), (1, "thread"), (1, "process")])
def test_an_error_in_a_worker_reaches_the_caller(make_pair, workers, kind):
    source = sampler(make_pair())
    source.targets = replace(source.targets, offsets=((0, 0, "far"),))
    with pytest.raises(TypeError):
        take(source, Order(1, 0, 1), workers, kind)


def test_an_error_of_ours_keeps_its_class_across_processes(make_pair):
    image, labels = make_pair((12, 16, 16))
    array = image.numpy().astype(np.float32)
    broken = InMemory(array * np.nan, image.box)
    source = sampler((image, labels))
    source.sources = (replace(source.sources[0], image=_Unchecked(broken)),)
    with pytest.raises(InputError, match="NaN or infinite"):
        take(source, Order(1, 0, 1), 1, "process")


class _Unchecked:
    """An image that was not looked at when it was cached."""

    def __init__(self, inner):
        self.inner, self.box = inner, inner.box

    def read(self, box):
        return self.inner.read(box)


def test_one_thread_is_the_choice_beside_a_cpu(make_pair, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loader = make_loader(sampler(make_pair()), Order(1), DataConfig())
    assert isinstance(loader, ThreadBatches)
    assert loader._threads == 1


def test_processes_are_the_choice_beside_a_gpu(make_pair, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    cached = make_loader(sampler(make_pair()), Order(1), DataConfig())
    assert isinstance(cached, torch.utils.data.DataLoader)
    assert cached.num_workers == 8
    lazy = make_loader(sampler(make_pair(), cache_gb=0), Order(1), DataConfig())
    assert isinstance(lazy, ThreadBatches)
