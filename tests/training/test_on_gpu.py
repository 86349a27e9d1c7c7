"""What runs on a GPU alone, or differently there: skipped on machines without one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from orl_explore.embedding import embed_images
from orl_explore.encoder import Encoder
from orl_explore.neighbors import _top
from orl_explore.settings import EncoderSettings
from training import evaluate, stage1, stage2, stage3

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def losses(run, stage="stage1"):
    """Of every step, as metrics.csv has them."""
    return [float(line.split(",")[4]) for line in (run.path / stage / "metrics.csv").read_text().split()[1:]]


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32", "paper"])
@pytest.mark.parametrize("augment", ["cpu", "device"])
def test_stages_train(new_run, changed, precision, augment):
    run = new_run()
    config = dataclasses.replace(
        changed("stage1", augment=augment), stage3=changed("stage3", augment=augment).stage3, precision=precision
    )
    for stage in (stage1, stage2, stage3):
        stage.run(run, config)
    for name in ("stage1", "stage3"):
        assert len(losses(run, name)) == 6
        assert np.isfinite(losses(run, name)).all()


@pytest.mark.parametrize("option", [{"gradient_checkpointing": True}, {"compile": True}])
def test_ways_to_save_time_or_memory_take_the_same_steps(new_run, changed, option):
    found = {}
    for name, values in (("plain", {}), ("saving", option)):
        run = new_run(name)
        stage1.run(run, changed("stage1", base_lr=1e-3, **values))
        found[name] = losses(run)
    # Eight images a batch and a network this small enlarge what is rounded elsewhere: hence the small rate.
    assert found["saving"] == pytest.approx(found["plain"], abs=0.05)


def test_what_was_stopped_goes_on_as_if_it_had_not_been(new_run, tiny, stop_at):
    whole, stopped = new_run("whole"), new_run("stopped")
    stage1.run(whole, tiny)
    go_on = stop_at(4)
    with pytest.raises(RuntimeError, match="stopped at step 4"):
        stage1.run(stopped, tiny)
    go_on()
    stage1.run(stopped, tiny)
    assert losses(stopped) == pytest.approx(losses(whole), abs=0.02)  # sums on a GPU end in other digits each time


def test_stage2_finds_what_it_finds_on_a_cpu(unfinished, finished, tiny):
    run = unfinished("stage2")
    stage2.run(run, dataclasses.replace(tiny, precision="paper"))  # in float32
    pairs = [set(map(tuple, one.read("pairs")[["query_region", "key_region"]].to_numpy())) for one in (run, finished)]
    assert len(pairs[0] & pairs[1]) >= 0.98 * len(pairs[1])  # the device's sums end in other digits: ties may fall
    known, found = (one.read_array("region_embeddings")[:].astype(np.float32) for one in (finished, run))
    assert np.abs(known - found).max() < 0.01


def test_the_largest_products_are_those_of_a_cpu():
    vectors = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    (values, rows), (gpu_values, gpu_rows) = (_top(vectors, vectors, 10, device) for device in ("cpu", "cuda"))
    assert (rows == gpu_rows).mean() > 0.999
    assert np.abs(values - gpu_values).max() < 1e-5


def test_bf16_with_folded_norms_is_near_float32(images):
    encoder = Encoder.random(EncoderSettings("resnet18", hidden=0, dim=0), seed=0).eval()
    plain = embed_images(encoder, images, features=True, size=64, device="cuda")
    half = embed_images(encoder, images, features=True, size=64, device="cuda", bf16=True)
    cosine = (plain * half).sum(1) / np.linalg.norm(plain, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.99


def test_it_is_judged_there(unfinished, tiny):
    run = unfinished("stage3")
    stage3.run(run, tiny)
    figures = evaluate.run(run, tiny)
    assert 0 <= figures["stage3"]["object_knn"] <= 1
