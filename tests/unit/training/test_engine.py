"""The engine says what matters, and not which precision it was told to use."""

from __future__ import annotations

import logging

from neuropil.training.engine import launch


def test_the_precision_is_not_announced() -> None:
    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("lightning_fabric.utilities.rank_zero")
    log.addHandler(listener)
    try:
        launch(lambda fabric: log.info("something else"), devices=1, precision="bf16")
    finally:
        log.removeHandler(listener)
    assert "something else" in said
    assert not [line for line in said if "Mixed Precision" in line]
