"""Does stage 1 find photographs that belong together? The rank of each in the other's neighbors, for known pairs.

orl run runs/photos --images PHOTOS --config tiny
python benchmarks/photos.py runs/photos
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import report

from orl_explore.errors import OrlError
from orl_explore.runs.run import Run

PAIRS = (
    *("aloeL/aloeR", "leuvenA/leuvenB", "graf1/graf3"),
    *("rubberwhale1/rubberwhale2", "basketball1/basketball2", "ela_original/ela_modified"),
)


def ranks(run: Run, pairs: list[str]) -> list[tuple[str, int, int]]:
    """(pair, rank of the second among the first's neighbors, rank the other way), 1 = nearest."""
    rows = {Path(name).stem: row for row, name in enumerate(run.read("images")["file_name"])}
    embeddings = run.read_array("image_embeddings")
    similarity = embeddings @ embeddings.T  # (N, N)
    np.fill_diagonal(similarity, -np.inf)
    found = []
    for pair in pairs:
        missing = [name for name in pair.split("/") if name not in rows]
        if missing:
            raise OrlError(f"{run.path} has no image {missing[0]}: name the pairs that it has with --pairs")
        a, b = (rows[name] for name in pair.split("/"))
        rank = [int((similarity[i] > similarity[i, j]).sum()) + 1 for i, j in ((a, b), (b, a))]
        found.append((pair, *rank))
    return found


def main() -> None:
    """Print the ranks and write benchmarks/results/photos.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run whose stage 2 is finished")
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), help="A/B, file names without their endings")
    parser.add_argument("--top", type=int, default=3, help="neighbors that count as near (default: 3)")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    rows: list[list[object]] = [["pair", "rank of the second for the first", "rank of the first for the second"]]
    found = ranks(run, arguments.pairs)
    rows += [list(row) for row in found]
    near = sum(max(first, second) <= arguments.top for _, first, second in found)
    text = f"{near} of {len(found)} pairs are each other's top-{arguments.top} neighbors."
    report.save("photos", "Photographs that belong together", f"{report.markdown_table(rows)}\n\n{text}")


if __name__ == "__main__":
    main()
