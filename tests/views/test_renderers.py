"""Three ways to draw a view: the fast ones against Pillow's, operation by operation and as whole samples.

Differences are counted in gray levels, 0..255. Pillow and ours round after each operation, so one level of the resized
crop is all that resizing may differ; an operation that stretches by up to 1.4 makes two of it.
"""

from __future__ import annotations

import dataclasses
import io
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from orl_explore import byol
from orl_explore.images import decoding
from orl_explore.images.decoding import Unusable, decode, decode_pixels
from orl_explore.runs import replay
from orl_explore.runs.samples import ImageViews, ObjectViews, StepSampler
from orl_explore.settings import EncoderSettings, ViewSettings
from orl_explore.views import arrays, cropping
from orl_explore.views.device import PART, Crops, distort, pack
from orl_explore.views.parameters import ViewParameters, sample_view
from orl_explore.views.renderers import RENDERERS, collate, finish
from training import stage1, stage3

SIZE = 64
BOX = (7, 5, 120, 100)
PAPER = ViewSettings()


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (140, 160, 3), np.uint8)
    return Image.fromarray(pixels).resize((300, 260), Image.Resampling.BICUBIC)  # smooth enough to be a picture


def view(**distortions) -> ViewParameters:
    nothing = {"flip": False, "color_steps": (), "gray": False, "blur_sigma": None, "solarize": False}
    return ViewParameters(BOX, **{**nothing, **distortions})


def draw(augment: str, image: Image.Image, parameters: ViewParameters, size: int = SIZE) -> np.ndarray:
    source = image if augment == "pil" else np.array(image)
    drawn = collate([{"view": RENDERERS[augment].draw(source, parameters, size)}])["view"]
    return finish(drawn)[0].permute(1, 2, 0).numpy().astype(int)


# ---- operation by operation --------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", ["cpu", "device"])
@pytest.mark.parametrize(
    ("parameters", "most", "mean"),
    [
        (view(), 1, 0.05),
        (view(flip=True), 1, 0.05),
        (view(color_steps=(("brightness", 0.6),)), 1, 0.05),
        (view(color_steps=(("brightness", 1.4),)), 2, 0.05),
        (view(color_steps=(("contrast", 0.6),)), 1, 0.05),
        (view(color_steps=(("contrast", 1.4),)), 2, 0.05),
        (view(color_steps=(("saturation", 0.8),)), 2, 0.05),
        (view(color_steps=(("saturation", 1.2),)), 2, 0.05),
        (view(gray=True), 1, 0.05),
        # 127 stays and 128 becomes 127: where rounding differs by one, so does the result.
        (view(solarize=True), 1, 0.05),
        # Hue is held in 256 steps, saturation too: a step of hue is 255 * 6 / 256 = 6 levels of a full color. OpenCV
        # rounds where Pillow cuts off, in hue and in saturation.
        (view(color_steps=(("hue", 0.1),)), 14, 1.5),
        (view(color_steps=(("hue", -0.07),)), 14, 1.5),
        # Pillow rounds each of six box blurs, and OpenCV's weights have 8 bits.
        (view(blur_sigma=0.1), 3, 0.5),
        (view(blur_sigma=0.5), 4, 0.7),
    ],
)
def test_each_operation(scene, augment, parameters, most, mean):
    difference = np.abs(draw(augment, scene, parameters) - draw("pil", scene, parameters))
    assert difference.max() <= most
    assert difference.mean() <= mean


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_wide_blur(scene, sigma):
    reference = draw("pil", scene, view(blur_sigma=sigma))
    assert np.abs(draw("device", scene, view(blur_sigma=sigma)) - reference).max() <= 3
    fast = np.abs(draw("cpu", scene, view(blur_sigma=sigma)) - reference)
    # Pillow lets the border pixel go on before each of three box blurs, OpenCV once: it shows within 6 pixels.
    assert fast[6:-6, 6:-6].max() <= 3
    assert fast.mean() <= 0.7


def test_hue_on_the_device_is_pillows(scene):
    difference = np.abs(
        draw("device", scene, view(color_steps=(("hue", 0.1),))) - draw("pil", scene, view(color_steps=(("hue", 0.1),)))
    )
    assert (difference > 1).mean() < 0.02  # where a value falls between two of the 256 hues
    assert difference.mean() < 0.05


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_blur_kernel_is_a_gaussian_of_that_width(sigma):
    kernel = arrays.blur_kernel(sigma).astype(float)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert (kernel == kernel[::-1]).all()
    assert (kernel * offsets**2).sum() == pytest.approx(sigma**2, rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 260), st.integers(0, 10**6), st.integers(2, 80))
def test_resizing_is_pillows(scene, w, h, seed, size):
    rng = np.random.default_rng(seed)
    box = (int(rng.integers(0, 301 - w)), int(rng.integers(0, 261 - h)), w, h)
    fast = cropping.crop_pixels(np.array(scene), box, size).astype(int)
    assert np.abs(fast - np.array(cropping.crop_image(scene, box, size))).max() <= 1


# ---- whole views -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("augment", "mean"), [("cpu", 3.0), ("device", 1.0)])
@pytest.mark.parametrize("number", [0, 1])
def test_whole_views(augment, mean, number):
    rng = np.random.default_rng(number)
    image = _picture()
    for _ in range(20):
        parameters = sample_view(rng, PAPER, view=number, image_size=image.size)
        difference = np.abs(draw(augment, image, parameters) - draw("pil", image, parameters))
        # Solarizing turns a difference around 128 into its double at most; the mean is what a network sees.
        assert difference.mean() <= mean, parameters


def _picture() -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (10, 12, 3), np.uint8)
    return Image.fromarray(pixels).resize((240, 200), Image.Resampling.BICUBIC)


def test_the_device_draws_each_image_with_its_own_parameters(scene):
    rng = np.random.default_rng(0)
    sampled = [sample_view(rng, PAPER, view=n % 2, image_size=scene.size) for n in range(PART + 5)]  # two parts
    batch = collate([{"view": RENDERERS["device"].draw(np.array(scene), p, 32)} for p in sampled])["view"]
    together = distort(batch)
    for n in (0, 1, 7, PART - 1, PART, PART + 4):
        alone = distort(Crops(batch.pixels[n : n + 1], batch.distortions[n : n + 1]))
        # A sum in another order may round the other way.
        assert (together[n].int() - alone[0].int()).abs().max() <= 1


def test_packed_parameters_by_hand():
    steps = (("hue", -0.05), ("contrast", 0.75), ("brightness", 1.25), ("saturation", 1.0))
    parameters = view(flip=True, solarize=True, color_steps=steps)
    assert pack(parameters).tolist() == pytest.approx([1, 0, 1, 0, 3, 1, 0, 2, -0.05, 0.75, 1.25, 1.0])
    assert pack(view()).tolist() == [0, 0, 0, 0, -1, -1, -1, -1, 1, 1, 1, 1]


@pytest.mark.parametrize("size", [8, 33])
def test_nothing_to_do_changes_nothing(scene, size):
    batch = collate([{"view": RENDERERS["device"].draw(np.array(scene), view(), size)}])["view"]
    assert torch.equal(distort(batch), batch.pixels)


def test_bf16_training_does_not_touch_the_pixels(scene):
    batch = collate([{"view": RENDERERS["device"].draw(np.array(scene), view(blur_sigma=1.0), SIZE)}])["view"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distort(batch), distort(batch))
        mixed = distort(batch)
    assert torch.equal(mixed, distort(batch))


# ---- decoding ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["simplejpeg", "OpenCV"])
def decoder(request, monkeypatch):
    """Each of the two decoders in turn."""
    if request.param == "OpenCV":
        monkeypatch.setattr(decoding, "jpeg_decoder", lambda: decoding.decode_with_opencv)
    else:
        pytest.importorskip("simplejpeg")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0, "quality": 40},
        {"subsampling": 1},
        {"restart_marker_blocks": 3, "comment": b"\xff\xda\xff\xe1"},
        {"icc_profile": b"\xff\xda" * 40_000},  # two segments, full of what elsewhere begins the scan
    ],
)
def test_pixels_are_those_of_the_image(scene, mode, orientation, options, decoder):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    data = jpeg(scene.convert(mode), exif=exif, **options)
    pixels = decode_pixels(data)
    assert (pixels.dtype, pixels.flags.writeable) == (np.uint8, True)
    np.testing.assert_array_equal(pixels, np.array(decode(data)))


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (16, 16), (17, 31), (640, 33)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_pixels_of_odd_sizes(scene, size, subsampling, decoder):
    data = jpeg(scene.resize(size), subsampling=subsampling)
    np.testing.assert_array_equal(decode_pixels(data), np.array(decode(data)))


def test_channels_kept_as_red_green_blue(scene, decoder):
    data = jpeg(scene, keep_rgb=True)
    np.testing.assert_array_equal(decode_pixels(data), np.array(decode(data)))


def test_an_orientation_in_xmp(scene, decoder):
    data = jpeg(scene, xmp=b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>')
    assert decode_pixels(data).shape == (300, 260, 3)  # upright: 260 wide
    np.testing.assert_array_equal(decode_pixels(data), np.array(decode(data)))


def test_only_plain_headers_are_called_plain(scene):
    data = jpeg(scene)
    assert decoding._is_plain_jpeg(data)
    frame = data.index(b"\xff\xc0") + 5  # depth lies before it; then height and width of 2 bytes, and the channels
    huge = data[:frame] + b"\xff\xff\xff\xff" + data[frame + 4 :]
    for other in (b"", b"\xff\xd8", data[:200], huge, jpeg(scene.convert("L")), jpeg(scene.convert("CMYK")), data[2:]):
        assert not decoding._is_plain_jpeg(other)
    with pytest.raises(Unusable, match="absurdly large"):
        decode_pixels(huge)


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_damage_is_noticed_as_ever(scene, keep, decoder):
    data = jpeg(scene, quality=95)
    with pytest.raises(Unusable, match="truncated"):
        decode_pixels(data[: int(len(data) * keep)])


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def test_a_batch_is_its_samples(finished, images, tiny):
    samples = objects(finished, images, tiny, "cpu")
    together = samples.__getitems__([(1, 3), (0, 5)])
    for one, index in zip(together, [(1, 3), (0, 5)], strict=True):
        alone = samples[index]
        assert alone.keys() == one.keys()
        assert all(torch.equal(torch.as_tensor(alone[name]), torch.as_tensor(one[name])) for name in one)


# ---- samples -----------------------------------------------------------------------------------------------


def objects(finished, images, config, augment):
    config = dataclasses.replace(config.stage3, augment=augment)
    return ObjectViews(images, finished.read("regions"), finished.read("pairs"), config, seed=0)


@pytest.mark.parametrize("augment", ["cpu", "device"])
def test_samples_show_what_pillow_shows(finished, images, tiny, augment):
    reference, fast = objects(finished, images, tiny, "pil"), objects(finished, images, tiny, augment)
    for row in (0, 5, 11):
        first, second = replay.pictures(reference, 1, row), replay.pictures(fast, 1, row)
        assert first.keys() == second.keys()
        for name in first:
            assert (first[name].int() - second[name].int()).abs().float().mean() < 3, name


@pytest.mark.parametrize("augment", ["pil", "cpu", "device"])
def test_workers_and_collation_change_nothing(images, tiny, augment):
    dataset = ImageViews(images, dataclasses.replace(tiny.stage1, augment=augment), seed=0)

    def batches(workers):
        sampler = StepSampler(len(images), batch_size=6, epochs=1, seed=0)
        return list(DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate))

    alone, together = batches(0), batches(2)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one["image_id"], other["image_id"])
        for name in ("view1", "view2"):
            assert torch.equal(finish(one[name]), finish(other[name]))
            assert finish(one[name]).shape == (6, 3, 32, 32)
    _, row = next(iter(StepSampler(len(images), batch_size=6, epochs=1, seed=0)))[0]
    single = dataset[0, row]["view1"]
    pixels, batched = ((v.pixels if augment == "device" else v) for v in (single, alone[0]["view1"]))
    assert torch.equal(pixels, batched[0])


# ---- the step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bf16", [False, True])
def test_gradient_checkpointing_changes_nothing(bf16):
    def step(save_memory):
        torch.manual_seed(0)
        networks = byol.BYOL(EncoderSettings("timm:test_resnet", 32, 16))
        if save_memory:
            networks.save_memory()
        view1, view2 = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses, _ = networks(view1, view2)
        losses["image"].backward()
        gradients = {name: p.grad for name, p in networks.named_parameters() if p.grad is not None}
        return {**networks.state_dict(), **gradients, "loss": losses["image"]}

    plain, saving = step(False), step(True)
    assert plain.keys() == saving.keys()  # so checkpoints fit as well
    for name in plain:
        torch.testing.assert_close(saving[name], plain[name], rtol=0, atol=0, msg=name)


def test_gradient_checkpointing_knows_resnets_only():
    networks = byol.BYOL(EncoderSettings("timm:test_convnext", 32, 16))
    with pytest.raises(byol.OrlError, match="leave it off"):
        networks.save_memory()


# ---- on a GPU ----------------------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_gpu
def test_views_on_the_gpu_are_those_of_the_cpu(scene):
    rng = np.random.default_rng(0)
    sampled = [sample_view(rng, PAPER, view=n % 2, image_size=scene.size) for n in range(40)]
    batch = collate([{"view": RENDERERS["device"].draw(np.array(scene), p, SIZE)} for p in sampled])["view"]
    difference = (distort(Crops(*(t.cuda() for t in batch))).cpu().int() - distort(batch).int()).abs()
    # A division or a sum that rounds the other way moves a pixel to the next hue: six levels of a full color.
    assert (difference > 1).float().mean() < 1e-3
    assert difference.max() <= 14


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("augment", ["cpu", "device"])
def test_stages_train_on_the_gpu(new_run, finished, changed, precision, augment):
    run = new_run()
    config = dataclasses.replace(
        changed("stage1", augment=augment), stage3=changed("stage3", augment=augment).stage3, precision=precision
    )
    stage1.run(run, config)
    shutil.copytree(finished.path / "stage2", run.path / "stage2")
    run.note("stage2", **finished.stage("stage2"))
    stage3.run(run, config)
    for stage in ("stage1", "stage3"):
        losses = [float(line.split(",")[4]) for line in (run.path / stage / "metrics.csv").read_text().split()[1:]]
        assert len(losses) == 6
        assert np.isfinite(losses).all()
