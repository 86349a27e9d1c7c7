"""How fast, and in how much memory, a correspondence file of COCO's size is read: `python benchmarks/interchange.py`.

Every image has the most that the format allows: 100 boxes, 10 pairs with each of 10 neighbors. The file is made first;
no picture is needed, as only tables are made of it.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from report import markdown_table, save

from orl_explore.images.image_set import ImageSet
from orl_explore.interchange import authors
from orl_explore.interchange.clipping import clip_boxes
from orl_explore.interchange.foreign import Ledger
from orl_explore.runs.run import Run

BOXES = [[5 * (number % 10) + number, 3 * number, 100 + number, 120] for number in range(100)]
PAIRS = [[BOXES[number] + BOXES[99 - number] for number in range(10)]] * 10


def make_file(path: Path, count: int) -> None:
    """Write a correspondence file of `count` images that differ in their neighbors only."""
    ids = list(range(1, count + 1))
    images = {"file_name": [f"{number:012d}.jpg" for number in ids], "id": ids}
    with path.open("w") as file:
        file.write(f'{{"info": {{"knn_image_num": 10}}, "images": {json.dumps(images)}, ')
        file.write(f'"pseudo_annotations": {{"image_id": {json.dumps(ids)}')
        near = ([(row + step) % count for step in range(1, 11)] for row in range(count))
        for key, items in (("bbox", None), ("knn_image_id", near), ("knn_bbox_pair", None)):
            text = json.dumps(BOXES if key == "bbox" else PAIRS)
            file.write(f', "{key}": [')
            for index, item in enumerate(items or range(count)):
                file.write((", " if index else "") + (text if items is None else json.dumps(item)))
            file.write("]")
        file.write("}}")


def peak() -> float:
    """Most memory that this process ever had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Make the file, read it, write the tables, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=118_287)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "correspondence.json"
        make_file(path, count)
        size = path.stat().st_size / 1e6
        table = pd.DataFrame({"image_id": np.arange(1, count + 1), "width": 640, "height": 480})
        table["file_name"] = [f"{number:012d}.jpg" for number in range(1, count + 1)]
        images = ImageSet(table, pd.DataFrame(), pd.DataFrame(), ())
        run, before = Run(Path(folder) / "run"), peak()
        start, work = time.monotonic(), time.process_time()
        mined = authors.read_mined(path, Path(folder))
        read, read_work, read_peak = time.monotonic() - start, time.process_time() - work, peak()
        authors.write_neighbors(run, images, mined)
        sizes = images.table[["width", "height"]].to_numpy()[:, None]
        clip_boxes(mined.boxes, sizes, Path(folder) / "clipped", where="bbox", ledger=Ledger())
        authors.write_regions(run, images, mined.boxes)
        authors.write_pairs(run, images, mined)
        wrote, write_work = time.monotonic() - start - read, time.process_time() - work - read_work
    rows = [
        ("what", "figure"),
        ("images, boxes, pairs", f"{count:,}, {100 * count:,}, {100 * count:,}"),
        ("the file", f"{size:,.0f} MB"),
        ("reading it", f"{read:,.0f} s, of which computing {read_work:,.1f} s ({size / read_work:,.0f} MB/s)"),
        ("writing neighbors, regions and pairs", f"{wrote:,.0f} s, of which computing {write_work:,.1f} s"),
        ("memory before / most while reading / most in all", f"{before:,.0f} / {read_peak:,.0f} / {peak():,.0f} MB"),
    ]
    save("interchange", "Importing correspondences", markdown_table(rows))


if __name__ == "__main__":
    main()
