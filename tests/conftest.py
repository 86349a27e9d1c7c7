"""What the tests of several modules share: tiny scenes, tiny settings, and a run of all three stages on them."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

from authors_files import NAMES, RAW, SIZES, mined
from orl_explore.images.image_set import ImageSet
from orl_explore.images.opening import open_images
from orl_explore.practice.benchmark_folders import write_imagefolder, write_voc, write_voc2012
from orl_explore.practice.scenes import make_scenes
from orl_explore.runs.run import Run
from orl_explore.settings import Config, EncoderSettings, Stage1Settings, Stage2Settings, Stage3Settings
from training.config import load_config, to_yaml


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Such small networks only lose by more threads, and one always rounds the same way."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def main_stays() -> Iterator[None]:
    """AppTest leaves its script as `__main__`, which a process that is started later would run."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(autouse=True)
def no_test_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """`orl explore` makes way for the dashboard, and so would this process ever after, with all that it starts."""
    monkeypatch.setattr(os, "nice", lambda step: step)


hypothesis.settings.register_profile("any machine", deadline=None)  # a busy machine is slow, not wrong
hypothesis.settings.load_profile("any machine")

MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4e9 and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
    # On a disk, thousands of small files would be flushed; some are run.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

SCENES = 24
os.environ["OMP_NUM_THREADS"] = "1"  # for what the tests start, and for the share that training takes of the machine
torch.set_num_threads(1)  # for fixtures of a session, which come before those of a test


@pytest.fixture(scope="session")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO json of 24 practice scenes of 80 px."""
    return make_scenes(tmp_path_factory.mktemp("scenes"), count=SCENES, size=80, seed=1, disguise=True)


@pytest.fixture(scope="session")
def images(annotations: Path) -> ImageSet:
    return open_images([annotations])


@pytest.fixture(scope="session")
def encoder_settings() -> EncoderSettings:
    return EncoderSettings(backbone="timm:test_resnet", hidden=32, dim=16)


@pytest.fixture(scope="session")
def tiny(encoder_settings: EncoderSettings) -> Config:
    """Two epochs of three steps each, a checkpoint every two steps, four parts in stage 2."""
    shared = {"encoder": encoder_settings, "image_size": 32, "epochs": 2, "batch_size": 8}
    steps = {"warmup_epochs": 1.0, "checkpoint_steps": 2}
    return Config(
        precision="fp32",
        workers=0,
        stage1=Stage1Settings(**shared, **steps),
        stage2=Stage2Settings(image_size=32, neighbors=3, min_side=16, batch_size=16, shard_images=7),
        stage3=Stage3Settings(**shared, **steps, patch_size=16),
    )


@pytest.fixture(scope="session")
def tiny_yaml(tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny settings as a file, for commands."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(to_yaml(tiny))
    assert load_config(path) == tiny
    return path


@pytest.fixture
def new_run(tmp_path: Path, images: ImageSet, annotations: Path) -> Callable[[str], Run]:
    """Begin runs on the tiny scenes, by name."""

    def make(name: str = "run") -> Run:
        run = Run(tmp_path / name)
        run.set_images(images, [str(annotations)])
        return run

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, images: ImageSet, annotations: Path, tiny: Config) -> Run:
    """A run with all three stages done, never disturbed. For reading only: copy it before changing it."""
    from training import stage1, stage2, stage3

    run = Run(tmp_path_factory.mktemp("runs") / "finished")
    run.set_images(images, [str(annotations)])
    for stage in (stage1, stage2, stage3):
        stage.run(run, tiny)
    return run


@pytest.fixture(scope="session")
def changed(tiny: Config) -> Callable[..., Config]:
    """Tiny settings with other values: `changed("stage1", epochs=3)`, `changed(seed=1)`."""

    def change(stage: str | None = None, /, **values: object) -> Config:
        if stage is None:
            return dataclasses.replace(tiny, **values)
        return dataclasses.replace(tiny, **{stage: dataclasses.replace(getattr(tiny, stage), **values)})

    return change


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """A picture of 300 x 260 px."""
    pixels = np.random.default_rng(0).integers(0, 256, (140, 160, 3), np.uint8)
    return Image.fromarray(pixels).resize((300, 260), Image.Resampling.BICUBIC)  # smooth enough to be a picture


# ---- the dashboard -------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path, finished: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one finished run, named "one", that the dashboard is over."""
    folder = tmp_path / "runs"
    shutil.copytree(finished.path, folder / "one")
    monkeypatch.setenv("ORL_RUNS", str(folder))
    return folder


@pytest.fixture
def run(runs: Path) -> Run:
    """The run named "one", to be changed at will."""
    return Run(runs / "one")


@pytest.fixture(scope="session")
def streamlit_once() -> None:
    """Every AppTest looks for components in the metadata of all installed packages, which takes longer than a page."""
    from streamlit.components.v2 import manifest_scanner

    manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)


@pytest.fixture
def visit(streamlit_once: None, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Open the dashboard as a link does: `visit(page="pairs", image=5)`.

    A test module about one page names it in `PAGE`. A mapping before the query goes into the session's state.
    """
    from streamlit.testing.v1 import AppTest

    def open_page(state: Mapping[str, object] | None = None, /, **query: object) -> AppTest:
        app = AppTest.from_file(str(Path(__file__).parent.parent / "app.py"), default_timeout=60)
        default = getattr(request.module, "PAGE", None)
        for name, value in {**({"page": default} if default else {}), **query}.items():
            app.query_params[name] = str(value)
        for name, value in (state or {}).items():
            app.session_state[name] = value
        app.run()
        assert not app.exception
        assert not app.error, [box.value for box in app.error]
        return app

    return open_page


# ---- files of other tools ------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A COCO json of four images, in the order of the authors' files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = []
    for name, (width, height) in zip(NAMES, SIZES, strict=True):
        pixels = rng.integers(0, 255, (height, width, 3), np.uint8)
        Image.fromarray(pixels).resize((2 * width, 2 * height)).save(folder / f"{name}.jpg")
        images.append({"id": 10 * name, "file_name": f"{name}.jpg", "width": 2 * width, "height": 2 * height})
    path = folder / "all.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of another tool: text as it is, all else as JSON."""

    def to_file(content: object, name: str = "theirs.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return to_file


@pytest.fixture
def imported(tmp_path: Path, photos: Path, write: Callable[..., Path]) -> Run:
    """A run of the four images, begun with the authors' files."""
    from training.importing import import_files

    sources = [write(mined()), write({"bbox": RAW}, "proposals.json")]
    return import_files(tmp_path / "runs" / "theirs", sources, images=[photos])


@pytest.fixture
def with_encoder(new_run: Callable[..., Run]) -> Run:
    """A run with an encoder of stage 1, that of `encoder_files`."""
    from encoder_files import encoder

    run = new_run()
    run.encoder_file("stage1").parent.mkdir()
    encoder().save(run.encoder_file("stage1"), stage="stage1", image_size=32)
    return run


@pytest.fixture(scope="session")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 scenes as VOC2007/, VOC2012/ and imagefolder/, with annotations.json beside them. Copy before changing."""
    folder = tmp_path_factory.mktemp("practice")
    annotations = make_scenes(folder, count=90, size=64, seed=5, disguise=True)
    write_voc(annotations, folder)
    write_voc2012(annotations, folder)
    write_imagefolder(annotations, folder)
    return folder
