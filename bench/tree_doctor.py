"""What `neuropil doctor TREE --image PROJECTION` says of the BigNeuron projections of NEUROPIL_DATA.

    python bench/tree_doctor.py [--out docs/results/tree_doctor.json]

Each gold tree on its maximum projection: as it is, with y mirrored, and moved. Counts for those that the index calls
aligned and for the others.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from bigneuron import opened
from neuropil.treedoctor import examine_tree
from neuropil.volume import Volume

RESULT = Path(__file__).parents[1] / "docs" / "results" / "tree_doctor.json"
#: Not that of the images, which does not matter for a tree in voxels; not 1 um, so that units can be told apart.
NM = (400.0, 400.0, 400.0)
#: How far trees are moved, voxels y, x.
MOVED = ((3, 3), (-5, 5), (8, 8), (12, -12), (20, 20), (-25, 40), (60, 100))


def examined(lines: list[str], image: Any) -> dict[str, Any]:
    """The doctor's account."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tree.swc"
        path.write_text("\n".join(lines) + "\n")
        volume = Volume(image[None], NM, kind="image")
        return examine_tree(path, volume, units="voxel", voxel_size=None, out=None)


def moved_back(words: list[list[str]], image: Any, plain: dict[str, Any], by: tuple[int, int]) -> str:
    """What becomes of a tree that was moved: "right" (to a voxel), "fine" (none needed), "nowhere" or "wrong"."""
    y, x = by
    found = examined([" ".join([*w[:2], str(float(w[2]) + x), str(float(w[3]) + y), *w[4:]]) for w in words], image)
    (_, y0, x0), (_, y1, x1) = _shift(plain), _shift(found)
    if found["fix"] == "none needed":
        return "fine"
    if "nowhere" in found["verdict"]:
        return "nowhere"
    right = found["best"].split(", shifted")[0] == "unit voxel" and max(abs(y1 + y - y0), abs(x1 + x - x0)) <= 1
    return "right" if right else "wrong"


def _shift(found: dict[str, Any]) -> tuple[int, int, int]:
    said = re.search(r"shifted by ([+-]\d+), ([+-]\d+), ([+-]\d+)", found["best"])
    return (int(said[1]), int(said[2]), int(said[3])) if said else (0, 0, 0)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with opened() as neurons:
        for entry in neurons.index:
            if not neurons.has(entry["id"], "mip.tif"):
                continue
            image = neurons.image(entry["id"])
            lines = [w for w in neurons.path(entry["id"], "gold.swc").read_text().splitlines() if w and w[0] != "#"]
            words = [line.split() for line in lines]
            turned = [" ".join([*w[:3], str(image.shape[0] - 1 - float(w[3])), *w[4:]]) for w in words]
            plain, mirrored = examined(lines, image), examined(turned, image)
            kept = {k: plain[k] for k in ("score", "best", "best_score", "verdict")}
            row = {"id": entry["id"], "aligned": entry["aligned"] == "True", **kept, "mirrored": mirrored["best"]}
            if row["aligned"]:
                row["moved"] = {f"{y}, {x}": moved_back(words, image, plain, (y, x)) for y, x in MOVED}
            rows.append(row)
            print(rows[-1], flush=True)
    true, strange = [r for r in rows if r["aligned"]], [r for r in rows if not r["aligned"]]
    found = {
        "command": "python bench/tree_doctor.py",
        "aligned": len(true),
        "aligned_found_to_fit": sum(r["best"].split(", shifted")[0] == "unit voxel" for r in true),
        "aligned_least_score": min(r["best_score"] for r in true),
        "aligned_better_by_a_near_shift": sum("shifted" in r["best"] for r in true),
        "aligned_told_to_be_ambiguous": sum("other ways" in r["verdict"] for r in true),
        "mirrored_put_right": sum(r["mirrored"].startswith("unit voxel, y mirrored") for r in true),
        "mirrored_wrong_and_not_told": sum(
            not r["mirrored"].startswith("unit voxel, y mirrored") and "other ways" not in r["verdict"] for r in true
        ),
        "moved": {
            by: {what: sum(r["moved"][by] == what for r in true) for what in ("right", "fine", "wrong", "nowhere")}
            for by in true[0]["moved"]
        },
        "others": len(strange),
        "others_found_to_fit_nowhere": sum("nowhere" in r["verdict"] for r in strange),
        "others_greatest_score": max(r["score"] for r in strange),
        "neurons": rows,
    }
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
