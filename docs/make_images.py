"""Make the pictures of the documentation from a finished run: figures of the method, screenshots of the dashboard.

    make demo
    python docs/make_images.py runs/demo --image 595
    python docs/make_images.py runs/demo --image 595 --only figures

Needs the extras `dev` and `notebooks` and Chrome or Chromium. Writes docs/images/how-*.png and docs/images/app-*.png.
The pages that compare encoders leave what they computed in the run, as they do for anybody.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image
from torchvision.transforms.functional import to_pil_image

from orl_explore.boxes import BOX, iou, jitter_box
from orl_explore.byol import learning_rate_at, target_momentum
from orl_explore.figures import boxes, gallery, lines, of_run, style
from orl_explore.runs import replay
from orl_explore.runs.region_embeddings import MINED, embedded_encoders, read_region_embeddings
from orl_explore.runs.run import Run
from orl_explore.ui.shell import PAGES
from orl_explore.views import parameters, pillow
from training.config import load_config

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
WIDTH = 900
"""Of a figure, pixels."""

DONE = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    return app && app.dataset.testScriptState === 'notRunning' && document.querySelector('[data-testid=stMain] h1')
        && !document.querySelector('[data-testid=stSkeleton]')
        && [...document.querySelectorAll('[data-testid=stMain] img')].every(image => image.complete);
}"""
"""The dashboard has drawn its page."""


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run with its object map, such as runs/demo")
    parser.add_argument("--image", type=int, help="the image to look at (default: the one with the most objects)")
    parser.add_argument("--only", choices=("figures", "screenshots"), help="leave the others as they are")
    names = [page.name for page in PAGES]
    parser.add_argument("--pages", nargs="+", choices=names, default=names, help="pages to show (default: all)")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="browser (default: chromium on the path)")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    image_id = arguments.image
    if image_id is None:
        image_id = int(run.images().objects["image_id"].value_counts(sort=False).idxmax())
    if arguments.only != "screenshots":
        for name, figure in figures(run, image_id):
            picture = Image.open(io.BytesIO(figure.to_image("png", width=WIDTH, scale=1.5)))
            save(f"how-{name}", picture, colors=64 if name == "objects" else 256)  # thirty thousand points are large
    if arguments.only != "figures":
        for name, picture in screenshots(run, image_id, arguments.pages, arguments.chromium):
            save(f"app-{name.replace('_', '-')}", picture)


def save(name: str, picture: Image.Image, *, colors: int = 256) -> None:
    """Write a picture on white and in 256 colors."""
    picture = picture.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    path = IMAGES / f"{name}.png"
    flat.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def figures(run: Run, image_id: int) -> Iterator[tuple[str, go.Figure]]:
    """The figures of "How ORL works", by name."""
    images, config = run.images(), load_config(run.path / "config.yaml")
    row = of_run.row_of(images, image_id)
    image = images.load(row)
    stage = config.stage1

    rng = np.random.default_rng([config.seed, image_id])
    drawn, captions = [image], ["the image"]
    for view in (0, 1):
        for _ in range(3):
            sampled = parameters.sample_view(rng, stage.views, view=view, image_size=image.size)
            drawn.append(pillow.render_view(image, sampled, stage.image_size))
            captions.append(f"view {view + 1}")
    yield "views", gallery.gallery(drawn, captions, columns=7)

    steps = stage.total_steps(len(images))
    schedules = {
        "learning rate": [learning_rate_at(stage, step, len(images)) / stage.learning_rate() for step in range(steps)],
        "1 - m": [(1 - target_momentum(step, steps, stage.ema)) / (1 - stage.ema) for step in range(steps)],
    }
    table = pd.DataFrame(schedules, index=pd.Index(range(steps), name="step"))
    yield "schedules", lines.by_column(table, y_title="share of the greatest value", height=280)

    yield "neighbors", of_run.neighbors(run, image_id, k=6)
    yield "proposals", of_run.proposals(run, image_id)
    yield "filter", of_run.refiltered(run, image_id, **filter_settings(run))[1]
    yield "matrix", of_run.similarities(run, image_id)
    yield "pairs", of_run.pairs(run, image_id)

    kept = run.read("regions", image_id=image_id)[BOX].to_numpy()
    share = kept[:, 2:].prod(axis=1) / (image.width * image.height)
    box = kept[np.abs(share - 0.2).argmin()]
    jittered = [jitter_box(box, image_size=image.size, rng=np.random.default_rng([config.seed, n])) for n in range(5)]
    looks = [boxes.Look("a kept box", style.PALETTE[0], width=4)] + [boxes.LOOKS["iou"]._replace(name="jittered")] * 5
    labels = ["kept", *(f"IoU {value:.2f}" for value in iou(jittered, box)[:, 0])]
    yield "jitter", boxes.image_with_boxes(image, np.array([box, *jittered]), looks, labels, height=380)

    samples = replay.object_views(run, images)
    sample = samples[0, int(np.flatnonzero(samples.rows == row)[0])]
    names = ("view1", "view2", "intra1", "intra2", "inter1", "inter2")
    yield "sample", gallery.gallery([to_pil_image(sample[name]) for name in names], names, columns=6)
    yield "objects", of_run.objects(run)


def filter_settings(run: Run) -> dict[str, float]:
    """The filter's settings that the run was made with."""
    stage = load_config(run.path / "config.yaml").stage2
    return {name: getattr(stage, name) for name in ("min_side", "max_aspect", "max_iou", "max_boxes")}


def screenshots(
    run: Run, image_id: int, pages: Sequence[str], chromium: str | None
) -> Iterator[tuple[str, Image.Image]]:
    """Pages of the dashboard as a person sees them who has just opened them, by their names; and a tab of one."""
    from playwright.sync_api import sync_playwright

    from orl_explore.ui.pair_alike import TITLE

    encoders = embedded_encoders(run)
    two = {"stage1", "stage3"} <= set(encoders)
    shown = read_region_embeddings(run, encoders[-1] if encoders else MINED).region_ids  # of large runs, a sample
    queries = run.read("pairs", image_id=image_id)["query_region"]
    region = int((queries[queries.isin(shown)] if queries.isin(shown).any() else queries).iloc[0])
    with dashboard(run) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        tab.set_default_timeout(300_000)
        for page in (page for page in PAGES if page.name in pages):
            tab.goto(f"{address}/?run={run.path.name}&page={page.name}&image={image_id}")
            tab.wait_for_function(DONE)
            if page.name == "object_map":
                tab.goto(f"{tab.url}&region={region}{'&encoder=stage1&versus=stage3' if two else ''}")
                tab.wait_for_function(DONE)
            tab.wait_for_timeout(3000)  # Plotly draws after the page is done
            yield page.name, Image.open(io.BytesIO(tab.screenshot()))
            if page.name == "pairs":
                tab.get_by_role("tab", name=TITLE).click()
                tab.locator("canvas.b").last.scroll_into_view_if_needed()
                tab.wait_for_function(DONE)
                tab.locator("canvas.b").last.scroll_into_view_if_needed()
                tab.wait_for_timeout(2000)
                yield "pairs_alike", Image.open(io.BytesIO(tab.screenshot()))
        browser.close()


@contextmanager
def dashboard(run: Run) -> Iterator[str]:
    """Run the app over the folder of a run, and give its address."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}", "--server.headless=true"]
    environment = os.environ | {"ORL_RUNS": str(run.path.absolute().parent), "PYTHONPATH": str(ROOT)}
    app = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://localhost:{port}"
    finally:
        app.terminate()
        app.wait()


if __name__ == "__main__":
    main()
