"""Studies on several machines."""

from neuropil.studies.design import Cell
from neuropil.studies.run import dealt

CELLS = [
    Cell(arm, budget, seed) for seed in (0, 1, 2) for budget in (0.05, 0.25, 1.0) for arm in ("scratch", "mae", "mix")
]


def test_shards_share_out_all_cells_and_no_encoder_twice() -> None:
    for n in (1, 2, 4, 5):
        parts = [dealt(CELLS, f"{i}/{n}") for i in range(n)]
        assert sorted(c.name for part in parts for c in part) == sorted(c.name for c in CELLS)
        encoders = [(c.arm, c.seed) for part in parts for c in {(c.arm, c.seed): c for c in part}.values()]
        assert len(encoders) == len(set(encoders)) == 9
    assert list(dealt(CELLS, None)) == CELLS
