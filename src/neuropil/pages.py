"""From a run directory to what the report page shows of it."""

from __future__ import annotations

from neuropil.report import ReportData
from neuropil.training.checkpoint import Run


def run_page(run: Run) -> ReportData:
    """Summary, curves and threshold sweep of a run."""
    validation = run.rows("validation")
    best = next((r for r in reversed(validation) if r["step"] == run.card.get("best", {}).get("step")), None)
    card = run.card
    summary = {
        "Recipe": str(card["recipe"]),
        "Status": str(card["status"]),
        "Voxel size": " × ".join(f"{v:g}" for v in run.voxel_size) + " nm (z, y, x)",
        "Trained on": "; ".join(s["image"] for s in card["sources"]),
        "Network": f"{run.config.model.name}, {card['parameters']:,} parameters",
        "Steps": str(run.rows("train")[-1]["step"] if run.rows("train") else 0),
        "Seed": str(card["seed"]),
        "Versions": ", ".join(f"{k} {v}" for k, v in card["versions"].items()),
        "Created": str(card["created"]),
    }
    return ReportData(
        title=run.path.name,
        summary=summary,
        metrics=run.rows("train"),
        validation=[{k: v for k, v in row.items() if k != "sweep"} for row in validation],
        sweep=[] if best is None else best.get("sweep", []),
        threshold=None if best is None else best.get("threshold"),
    )
