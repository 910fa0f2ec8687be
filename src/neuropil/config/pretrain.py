"""Settings of pretraining."""

from __future__ import annotations
