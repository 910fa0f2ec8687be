"""Is there anything that agents could learn? How well tissue tells what a hidden patch is worth, now and later.

    NEUROPIL_DATA=... python bench/learning_progress.py

Pretrains on ISBI-2012 and other nerve cord (as bench/experiments/isbi2012_agents.yaml) with random masks. At each
step that agents would learn from, hidden patches are judged by the network itself and by slow copies of it. A linear
map from what the agents see (features of the teacher less their mean at each place, grey-value statistics) to the
rank of each measure is fitted to one window of steps and tried on the next: its correlation there is what a policy
could carry over.
One seed; docs/results/learning_progress.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from neuropil import api
from neuropil.pretrain import decision_mim
from neuropil.pretrain.choosers import Teacher, View
from neuropil.pretrain.decision_mim import AgentChooser
from neuropil.pretrain.mae import SlowCopy
from neuropil.pretrain.masking import Mask
from neuropil.pretrain.networks import MaskedNetwork
from neuropil.pretrain.reward import rank_normal
from neuropil.studies.design import read_design
from neuropil.versions import versions

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "learning_progress.json"
#: Memory of each slow copy, a step.
DECAYS = {"fast copy": 0.95, "teacher": 0.99, "slower": 0.998}
#: Measures by what they subtract.
MEASURES: dict[str, tuple[str, str | None]] = {
    "loss of the network": ("network", None),
    "loss of the teacher": ("teacher", None),
    "teacher - network": ("teacher", "network"),
    "teacher - fast copy": ("teacher", "fast copy"),
    "slower - network": ("slower", "network"),
    "slower - teacher": ("slower", "teacher"),
}
Window = tuple[Tensor, dict[str, Tensor]]


class Copies:
    """Slow copies of the network that follow it as the teacher does."""

    def __init__(self) -> None:
        self.of: dict[str, SlowCopy] = {}

    def follow(self, teacher: SlowCopy, network: MaskedNetwork, step: int, every: int) -> None:
        """Move towards the network; copies begin as the teacher begins."""
        for name in DECAYS:
            self.of.setdefault(name, copy.deepcopy(teacher))
        if step % every == 0:
            for name, decay in DECAYS.items():
                ours: list[Tensor] = list(self.of[name].network.parameters())
                theirs: list[Tensor] = list(network.parameters())
                with torch.no_grad():
                    torch._foreach_lerp_(ours, theirs, 1 - decay**every)


class Watching(AgentChooser):
    """Agents that keep what they are told, and what slow copies say."""

    copies = Copies()
    seen: ClassVar[list[tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]]] = []

    def learn(self, view: View, mask: Mask, losses_BM: Tensor, teacher: Teacher | None) -> None:
        """See `Chooser.learn`."""
        if self._seen is not None and self.copies.of:
            losses = {"network": losses_BM} | {n: c.losses(view, mask)[0] for n, c in self.copies.of.items()}
            state, _ = self._seen
            self.seen.append((state.features_BND, state.statistics_BNS, mask.masked_BM, losses))
        super().learn(view, mask, losses_BM, teacher)


def windows(size: int) -> list[Window]:
    """What is seen of the hidden patches (P, D), and the rank of each measure (P,), of so many practised steps."""
    found = []
    for first in range(0, len(Watching.seen) - size + 1, size):
        rows = Watching.seen[first : first + size]
        features = torch.cat([row[0].float() for row in rows])
        statistics = torch.cat([row[1] for row in rows])
        known = torch.cat([features - features.mean(0), statistics, statistics.clamp(min=1e-4).log()], dim=-1)
        hidden_BM = torch.cat([row[2] for row in rows])
        x = known.gather(1, hidden_BM[..., None].expand(-1, -1, known.shape[-1])).flatten(0, 1)
        losses = {name: torch.cat([row[3][name] for row in rows]).flatten() for name in rows[0][3]}
        y = {m: losses[a] - losses[b] if b else losses[a] for m, (a, b) in MEASURES.items()}
        found.append((x, {name: rank_normal(values) for name, values in y.items()}))
    return found


def carried_over(window: Window, following: Window, measure: str) -> float:
    """Correlation, in the following window, of a measure with what a ridge regression of this one says."""
    mean, deviation = window[0].mean(0), window[0].std(0) + 1e-6

    def design(x: Tensor) -> Tensor:
        return torch.cat([(x - mean) / deviation, torch.ones(len(x), 1)], dim=1)

    x = design(window[0])
    weights = torch.linalg.solve(x.T @ x + 0.01 * len(x) * torch.eye(x.shape[1]), x.T @ window[1][measure])
    said = design(following[0]) @ weights
    return float(torch.corrcoef(torch.stack([said, following[1][measure]]))[0, 1])


def pretrained(steps: int) -> None:
    """Pretrain with random masks while everything is watched."""
    design = read_design(str(ROOT / "bench" / "experiments" / "isbi2012_agents.yaml"))
    follow = SlowCopy.follow

    def follows(self: SlowCopy, network: MaskedNetwork, step: int) -> None:
        Watching.copies.follow(self, network, step, self._pretrain.agents.rollout_every)
        follow(self, network, step)

    SlowCopy.follow = follows  # type: ignore[method-assign]
    decision_mim.AgentChooser = Watching  # type: ignore[attr-defined,misc]
    words = [*design.pretrain_set, f"train.steps={steps}", "train.threads=1", "pretrain.agents.epsilon_end=1.0"]
    with tempfile.TemporaryDirectory() as folder:
        api.pretrain(design.unlabelled, Path(folder) / "run", recipe="decision_mim", set=words)


def table(found: Mapping[str, Any]) -> str:
    """Markdown: a row for each measure, a column for each window."""
    lines = ["| measure | " + " | ".join(f"step {s}" for s in found["steps"]) + " |"]
    lines.append("|---" * (len(found["steps"]) + 1) + "|")
    for name, values in found["carried_over"].items():
        lines.append(f"| {name} | " + " | ".join(f"{v:.2f}" for v in values) + " |")
    return "\n".join(lines)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--window", type=int, default=12, help="practised steps in a window")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    pretrained(asked.steps)
    parts = windows(asked.window)
    every = asked.steps // len(Watching.seen)
    found = {
        "command": " ".join(["python", "bench/learning_progress.py", *sys.argv[1:]]),
        "versions": versions(),
        "steps": [i * asked.window * every for i in range(1, len(parts))],
        "carried_over": {m: [round(carried_over(a, b, m), 3) for a, b in pairwise(parts)] for m in MEASURES},
    }
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
