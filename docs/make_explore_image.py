"""Make the picture of photographs that were explored: a row each for a few of them, as in a run's summary picture.

    orl explore PHOTOS --run runs/photos --no-app
    python docs/make_explore_image.py runs/photos aloeL leuvenA fruits

The names are those of files, without their endings. Writes docs/images/explore.jpg. That in the repository shows
samples of OpenCV alone: docs/explore.md gives the credit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from orl_explore.errors import OrlError
from orl_explore.figures.summary_content import NEIGHBORS
from orl_explore.figures.summary_picture import summary_picture
from orl_explore.runs.run import Run

FILE = Path(__file__).parent / "images" / "explore.jpg"
WIDTH = 1400
QUALITY = 85


def main() -> None:
    """Draw it, and say what is to be seen on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run that `orl explore` has made")
    parser.add_argument("names", nargs="+", help="photographs that begin a row")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    images = run.read("images").set_index("image_id")["file_name"]
    by_name = {Path(name).stem: image_id for image_id, name in images.items()}
    if missing := [name for name in arguments.names if name not in by_name]:
        raise OrlError(f"{run.path} has no picture {missing[0]}: name files of it, without their endings")
    queries = [by_name[name] for name in arguments.names]
    summary_picture(run, queries=queries, width=WIDTH).save(FILE, quality=QUALITY, optimize=True)
    neighbors = run.read("neighbors").set_index("image_id")
    near = neighbors[neighbors["rank"] < NEIGHBORS].loc[queries, "neighbor_id"]
    print(f"{FILE.name}: {FILE.stat().st_size / 1000:.0f} kB; to be seen are parts of")
    print("  " + ", ".join(sorted({images[image_id] for image_id in [*queries, *near]})))


if __name__ == "__main__":
    main()
