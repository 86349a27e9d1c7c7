"""How much faster is mining when every region is embedded once, and not anew for each of the K neighbors?

Both ways run over the same queries of the same finished run, one after the other, on the same machine, and must find
the same pairs. `once` embeds the regions of every image that is needed a single time; `per neighbor` embeds query and
key regions for every (image, neighbor), as the authors' published code does.

    python benchmarks/stage2.py runs/demo --queries 20
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import report

from orl_explore.embedding import embed_regions
from orl_explore.encoder import Encoder
from orl_explore.pairs import match_regions
from orl_explore.runs.run import Run
from training.config import load_config


def main() -> None:
    """Time both ways and write benchmarks/results/stage2.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run whose stage 2 is finished")
    parser.add_argument("--queries", type=int, default=20, help="query images (default: 20)")
    arguments = parser.parse_args()

    run = Run.open(arguments.run)
    config = load_config(run.path / "config.yaml")
    images, regions, neighbors = run.images(), run.read("regions"), run.read("neighbors")
    encoder = Encoder.load(run.encoder_file("stage1"))
    of_image = {image_id: group for image_id, group in regions.groupby("image_id", sort=False)}  # noqa: C416
    # Queries from all over the set, each with its K neighbors.
    ids = images.table["image_id"].to_numpy()
    queries = ids[np.linspace(0, len(ids) - 1, arguments.queries).astype(int)].tolist()
    wanted = neighbors[neighbors["image_id"].isin(queries)]

    def embed(image_id: int) -> np.ndarray:
        size = config.stage2.image_size
        return embed_regions(encoder, images, of_image[image_id], size=size).astype(np.float16)

    def match(image_id: int, neighbor_id: int, query: np.ndarray, key: np.ndarray) -> pd.DataFrame:
        q, k, _ = match_regions(query, key, ratio=config.stage2.pair_ratio)
        return pd.DataFrame(
            {
                "query_region": of_image[image_id]["region_id"].to_numpy()[q],
                "key_region": of_image[neighbor_id]["region_id"].to_numpy()[k],
            }
        )

    rows = wanted[["image_id", "neighbor_id"]].to_numpy().tolist()
    embed(queries[0])  # warm up

    start = time.perf_counter()
    per_neighbor = pd.concat([match(i, n, embed(i), embed(n)) for i, n in rows], ignore_index=True)
    slow = time.perf_counter() - start

    start = time.perf_counter()
    needed = dict.fromkeys(image_id for row in rows for image_id in row)
    vectors = {image_id: embed(image_id) for image_id in needed}
    once = pd.concat([match(i, n, vectors[i], vectors[n]) for i, n in rows], ignore_index=True)
    fast = time.perf_counter() - start

    if not per_neighbor.equals(once):
        raise SystemExit("the two ways disagree: this is a bug")
    # Over a whole set every image is needed once, whatever K is; a few queries share fewer neighbors than that.
    whole = 2 * len(rows) / len(queries)
    body = report.markdown_table(
        [
            ["way", "embedded images", "seconds", "pairs"],
            ["per neighbor", 2 * len(rows), f"{slow:.2f}", len(per_neighbor)],
            ["once", len(needed), f"{fast:.2f}", len(once)],
        ]
    )
    body += (
        f"\n\n{len(queries)} queries, K = {config.stage2.neighbors}: once is **{slow / fast:.1f} times** as fast here,"
        f" with identical pairs. Embedded images: {2 * len(rows)} against {len(needed)}; over a whole set it is"
        f" {whole:.0f} against 1 for each image."
    )
    report.save("stage2", "Mining: regions embedded once against once per neighbor", body)


if __name__ == "__main__":
    main()
