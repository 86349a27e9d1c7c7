"""The method in one file against the library, which was written apart from it: same inputs, same results."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp

from commands import do
from orl_explore import boxes, byol, neighbors, pairs, proposals
from orl_explore.orl import ORL
from orl_explore.practice.scenes import make_scenes
from orl_explore.settings import EncoderSettings, Stage1Settings, ViewSettings
from orl_explore.views import parameters, pillow, tensors

pytestmark = pytest.mark.slow  # ten seconds for all

FILE = Path(__file__).parent.parent / "notebooks" / "orl_in_one_file.py"
DRAWS = 2000


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("orl_in_one_file", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


one = load()
"""With the paper's settings; tests that need others take the fixture `small`, or a module of their own."""


@pytest.fixture
def small() -> ModuleType:
    module = load()
    vars(module).update(BACKBONE="resnet18", HIDDEN=32, DIM=16)
    return module


def pixels(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Smooth noise: an RGB image (H, W, 3) with edges of all sizes, as photographs have."""
    rng = np.random.default_rng(seed)
    layers = [
        np.array(Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)).resize((width, height))) for n in (3, 9, 30)
    ]
    return np.mean(layers, axis=0).astype(np.uint8)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


# ---- the file itself -----------------------------------------------------------------------------------------------


def test_it_is_short():
    assert len(FILE.read_text("utf-8").splitlines()) <= 356


def test_it_stands_on_its_own():
    imported = set()
    for node in ast.walk(ast.parse(FILE.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cv2", "numpy", "torch", "torchvision"}


def test_settings_are_the_papers():
    paper = {"BACKBONE": "resnet50", "HIDDEN": 4096, "DIM": 256, "SIZE": 224, "PATCH": 96, "EPOCHS": 800, "WARMUP": 4}
    paper |= {"BATCH": 512, "LR": 0.4, "MOMENTUM": 0.9, "WEIGHT_DECAY": 1e-4, "EMA": 0.99, "NEIGHBORS": 10}
    paper |= {"MIN_SIDE": 96, "MAX_ASPECT": 3, "MAX_IOU": 0.5, "MAX_BOXES": 100, "PAIR_RATIO": 0.1}
    assert {name: getattr(one, name) for name in paper} == paper


def settings_after(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> ModuleType:
    module = load()
    monkeypatch.setattr(sys, "argv", [str(FILE), *arguments])
    module.read_settings()
    return module


def test_the_command_line_replaces_settings_also_small_ones(monkeypatch):
    module = settings_after(monkeypatch, "--small", "--epochs", "3", "--images", "7", "--blur_sigma", "0.5,1")
    assert (module.BACKBONE, module.EPOCHS, module.IMAGES, module.BLUR_SIGMA) == ("resnet18", 3, "7", (0.5, 1))
    assert settings_after(monkeypatch, "--lr", "0.2").LR == 0.2
    assert settings_after(monkeypatch).LR == one.LR
    assert all(hasattr(one, name) for name in one.SMALL)


def test_help_explains_every_setting(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        settings_after(monkeypatch, "--help")
    text = capsys.readouterr().out
    names = {name for name in vars(one) if name.isupper() and name != "SMALL"}
    assert len(names) > 30
    for name in names:
        line = text[text.rindex(f"--{name.lower()}  ") :].split("--")[1]
        assert len(line.split()) > 3, line


# ---- the networks and the loss -------------------------------------------------------------------------------------


@pytest.fixture
def both(small):
    """The library's networks and this file's with the same weights; online and target ones differ."""
    torch.manual_seed(0)
    library = ORL(EncoderSettings(backbone="resnet18", hidden=32, dim=16))
    with torch.no_grad():
        for parameter in library.target.parameters():
            parameter.mul_(1 + 0.1 * torch.randn(parameter.shape))
    ours = small.Twins(["image", "intra", "inter"])
    names = {f"{kind}_predictor.": f"predictors.{kind}." for kind in ("image", "intra", "inter")}
    state = {}
    for name, value in library.state_dict().items():
        for old, new in names.items():
            name = new + name.removeprefix(old) if name.startswith(old) else name
        state[name] = value.clone()
    ours.load_state_dict(state)  # strict: every weight has its place
    return library.train(), ours.train()


def batch(seed: int, side: int) -> torch.Tensor:
    return torch.randn(6, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_losses_of_all_three_kinds_are_the_librarys(both):
    library, ours = both
    inputs = {
        "image": (batch(0, 64), batch(1, 64)),
        "intra": (batch(2, 32), batch(3, 32)),
        "inter": (batch(4, 32),) * 2,
    }
    (image1, image2), (intra1, intra2), (inter1, inter2) = inputs.values()
    expected, _ = library(image1, image2, intra1, intra2, inter1, inter2)
    losses = {kind: ours.pair_loss(kind, *inputs[kind]) for kind in inputs}
    for kind, loss in losses.items():
        assert 0 < loss.item() < 8
        assert loss.item() == pytest.approx(expected[kind].item(), abs=1e-5)

    # Gradients, and the statistics that six passes leave in each network, are the same, too.
    sum(expected.values()).backward()
    sum(losses.values()).backward()
    torch.testing.assert_close(ours.online.backbone.conv1.weight.grad, library.online.backbone.conv1.weight.grad)
    for kind in inputs:
        first, second = ours.predictors[kind][0].weight.grad, getattr(library, f"{kind}_predictor")[0].weight.grad
        torch.testing.assert_close(first, second)
    assert all(weight.grad is None for weight in ours.target.parameters())
    for side in ("online", "target"):
        first, second = getattr(ours, side).projector[1], getattr(library, side).projector[1]
        torch.testing.assert_close(first.running_mean, second.running_mean)
        assert first.num_batches_tracked == second.num_batches_tracked == 6


def test_byol_is_the_first_of_the_three_losses(both):
    library, ours = both
    stage1 = byol.BYOL(library.settings)
    stage1.online.load_state_dict(library.online.state_dict())
    stage1.target.load_state_dict(library.target.state_dict())
    stage1.predictor.load_state_dict(library.image_predictor.state_dict())
    losses, _ = stage1.train()(batch(0, 64), batch(1, 64))
    assert ours.pair_loss("image", batch(0, 64), batch(1, 64)).item() == pytest.approx(losses["image"].item(), abs=1e-5)


def test_target_moves_as_the_librarys_does(both):
    library, ours = both
    library.update_target(0.9)
    ours.update_target(0.9)
    for first, second in zip(ours.target.parameters(), library.target.parameters(), strict=True):
        torch.testing.assert_close(first, second)


def test_weights_begin_as_kaiming_normal_by_fan_in(small):
    twins = small.Twins(["image"])
    for name, weight in twins.online.named_parameters():
        if weight.dim() > 1 and weight.numel() > 5000:
            fan_in = weight[0].numel()
            assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05), name
        elif name.endswith("bias"):
            assert not weight.any(), name
        elif weight.dim() == 1:  # of a BN, the last one of a residual branch included
            assert (weight == 1).all(), name
    assert not any(weight.requires_grad for weight in twins.target.parameters())


def test_weights_derive_from_the_seed_alone(small):
    torch.manual_seed(0)
    first = small.Twins(["image"]).state_dict()
    torch.manual_seed(1)
    for name, weight in small.Twins(["image"]).state_dict().items():
        torch.testing.assert_close(weight, first[name], rtol=0, atol=0)


@pytest.mark.parametrize(("longest", "size"), [(None, (90, 60)), (90, (90, 60)), (45, (45, 30))])
def test_images_are_made_smaller_where_it_is_asked_for(tmp_path, small, longest, size):
    Image.fromarray(pixels(90, 60)).save(tmp_path / "one.png")
    small.LONGEST = longest
    read = small.read_image(tmp_path / "one.png")
    assert (read.dtype, tuple(read.shape)) == (torch.uint8, (3, *size[::-1]))
    wanted = np.array(Image.fromarray(pixels(90, 60)).resize(size, Image.Resampling.BOX)).astype(int)
    assert np.abs(read.permute(1, 2, 0).numpy() - wanted).max() <= 1


def test_the_encoder_of_the_paper():
    with torch.device("meta"):
        encoder = one.Encoder()
    shapes = [tuple(weight.shape) for name, weight in encoder.projector.named_parameters() if name.endswith("weight")]
    assert shapes == [(4096, 2048), (4096,), (256, 4096)]
    assert encoder.projector[0].bias is not None
    assert encoder.projector[3].bias is None
    assert set(encoder.backbone.state_dict()) | {"fc.weight", "fc.bias"} == set(
        torchvision.models.resnet50().state_dict()
    )


# ---- schedules -----------------------------------------------------------------------------------------------------


@given(total=st.integers(1, 200_000), share=st.floats(0, 1))
def test_target_momentum_is_the_librarys(total, share):
    step = int(share * total)
    assert one.target_momentum(step, total) == pytest.approx(byol.target_momentum(step, total), abs=1e-12)


@pytest.mark.parametrize(
    ("step", "rate"),  # of COCO: 232 steps an epoch, 928 steps of warm-up, 800 epochs
    [
        (0, 0.4 * 1e-4),
        (1, 0.4 * (1e-4 + 0.9999 / 928)),  # still epoch 0, in which the cosine is 1
        (231, 0.4 * (1e-4 + 0.9999 * 231 / 928)),
        (464, 0.4 * (1e-4 + 0.9999 / 2) * (1 + math.cos(math.pi * 2 / 800)) / 2),
        (928, 0.4 * (1 + math.cos(math.pi * 4 / 800)) / 2),
        (929, 0.4 * (1 + math.cos(math.pi * 4 / 800)) / 2),  # the same all through an epoch
        (1159, 0.4 * (1 + math.cos(math.pi * 4 / 800)) / 2),
        (1160, 0.4 * (1 + math.cos(math.pi * 5 / 800)) / 2),
        (400 * 232, 0.2),
        (800 * 232 - 1, 0.4 * (1 + math.cos(math.pi * 799 / 800)) / 2),  # 1.5e-6: it does not reach 0
    ],
)
def test_learning_rate_of_the_paper(step, rate):
    assert one.learning_rate(step, 232) == pytest.approx(rate, rel=1e-9)
    assert byol.learning_rate_at(Stage1Settings(), step, 118_287) == pytest.approx(rate, rel=1e-9)


def test_learning_rate_scales_with_the_batch(small):
    small.BATCH = 64
    assert small.learning_rate(400 * 232, 232) == pytest.approx(0.2 / 8)
    small.WARMUP = 0
    assert small.learning_rate(0, 232) == pytest.approx(0.4 / 8)


def test_an_epoch_of_coco_has_232_steps_the_last_of_16_images():
    plan = one.batches(118_287)
    rows = [next(plan)[1] for _ in range(232)]
    assert [len(batch) for batch in rows] == [512] * 231 + [16]
    order = [row for batch in rows for row in batch]
    assert sorted(order[:118_287]) == list(range(118_287))
    assert order[118_287:] == order[:1]  # one image more makes it a multiple of 8
    assert next(plan)[1] != rows[0]  # the next epoch has an order of its own


def test_generators_differ_between_images_and_epochs(small):
    vars(small).update(EPOCHS=2, BATCH=8)
    draws = [float(rng.random()) for generators, _ in small.batches(8) for rng in generators]
    assert len(set(draws)) == 16
    assert [float(rng.random()) for generators, _ in small.batches(8) for rng in generators] == draws


# ---- views ---------------------------------------------------------------------------------------------------------

PAPER = ViewSettings()


def test_view_settings_are_the_librarys():
    assert (PAPER.crop_scale, PAPER.crop_ratio) == (one.CROP_SCALE, one.CROP_RATIO)
    assert (PAPER.flip, PAPER.color_jitter, PAPER.gray) == (one.FLIP, one.JITTER, one.GRAY)
    assert (PAPER.blur, PAPER.solarize, PAPER.blur_sigma) == (one.BLUR, one.SOLARIZE, one.BLUR_SIGMA)
    strengths = (one.BRIGHTNESS, one.CONTRAST, one.SATURATION, one.HUE)
    assert strengths == (PAPER.brightness, PAPER.contrast, PAPER.saturation, PAPER.hue)


@pytest.fixture(scope="module")
def drawn() -> list[list[dict]]:
    rng = np.random.default_rng(0)
    return [[one.draw_view(rng, (0, 0, 8, 8), number) for _ in range(DRAWS)] for number in (0, 1)]


@pytest.mark.parametrize("number", [0, 1])
def test_probabilities_are_the_librarys(drawn, number):
    expected = {"flip": PAPER.flip, "colors": PAPER.color_jitter, "gray": PAPER.gray}
    expected |= {"blur": PAPER.blur[number], "solarize": PAPER.solarize[number]}
    for name, probability in expected.items():
        share = np.mean([bool(view[name]) for view in drawn[number]])
        # Five standard deviations of a binomial share: exact where the probability is 0 or 1.
        assert abs(share - probability) <= 5 * math.sqrt(probability * (1 - probability) / DRAWS), name


def test_strengths_fill_the_librarys_ranges(drawn):
    ranges = {name: (low, low + width) for name, low, width in PAPER.color_ranges} | {"sigma": PAPER.blur_sigma}
    for name, (low, high) in ranges.items():
        values = [view["blur"] if name == "sigma" else dict(view["colors"]).get(name) for view in drawn[0]]
        found = np.array([value for value in values if value is not None])
        assert low <= found.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < found.max() <= high
        assert found.mean() == pytest.approx((low + high) / 2, abs=5 * (high - low) / math.sqrt(12 * len(found)))
    assert len({tuple(name for name, _ in view["colors"]) for view in drawn[0]}) == 25  # 4! orders, and none


@pytest.mark.filterwarnings("ignore:ks_2samp")  # equal draws, as narrow images have them, are counted approximately
@pytest.mark.parametrize("size", [(640, 480), (300, 301), (1000, 60), (9, 400)])
def test_crops_are_spread_as_the_librarys(size):
    mine, theirs = np.random.default_rng(0), np.random.default_rng(1)
    ours = np.array([one.random_crop(mine, *size) for _ in range(DRAWS)])
    library = np.array(
        [parameters.random_crop(theirs, *size, PAPER.crop_scale, PAPER.crop_ratio) for _ in range(DRAWS)]
    )
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= size).all()
    for measure in (lambda b: b[:, 0], lambda b: b[:, 1], lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 2] / b[:, 3]):
        assert ks_2samp(measure(ours), measure(library)).pvalue > 1e-4


@pytest.mark.parametrize(
    ("distortions", "tolerance"),  # gray levels, in the mean over all pixels
    [
        ({}, 0.5),
        ({"flip": True}, 0.5),
        ({"colors": [("brightness", 1.3)]}, 1),
        ({"colors": [("contrast", 0.7)]}, 1),
        ({"colors": [("saturation", 1.2)]}, 1),
        ({"colors": [("hue", 0.1)]}, 2),  # Pillow holds hues in 256 steps
        ({"colors": [("hue", -0.05), ("contrast", 1.4), ("brightness", 0.6), ("saturation", 0.8)]}, 2),
        ({"gray": True}, 1),
        ({"blur": 1.5}, 1),  # Pillow's kernel is three boxes, nearly a Gaussian
        ({"solarize": True}, 1.5),  # a pixel that rounding moves across 128 falls far
    ],
)
def test_a_view_shows_what_the_librarys_shows(distortions, tolerance):
    image, box = pixels(200, 150), (20, 30, 120, 100)
    view = {"box": box, "flip": False, "colors": [], "gray": False, "blur": None, "solarize": False} | distortions
    drawn = parameters.ViewParameters(
        box, view["flip"], tuple(view["colors"]), view["gray"], view["blur"], view["solarize"]
    )
    ours = one.render(tensor(image), view, 64)
    library = tensors.to_tensor(pillow.render_view(Image.fromarray(image), drawn, 64))
    assert ours.dtype == torch.uint8
    assert (ours.float() - library.float()).abs().mean() < tolerance
    torch.testing.assert_close(one.normalize(ours[None]), tensors.normalize(ours[None]), check_stride=False)


def test_a_pair_has_both_views_settings(small):
    vars(small).update(FLIP=0.0, JITTER=0.0, GRAY=0.0, BLUR=(0.0, 0.0), SOLARIZE=(0.0, 1.0))
    image = tensor(pixels(90, 80))
    view1, view2 = small.draw_pair(np.random.default_rng(0), [(image, (5, 6, 50, 40))] * 2, 32)
    plain = small.crop(image, (5, 6, 50, 40), 32)
    assert torch.equal(view1, plain)
    assert torch.equal(view2, torch.where(plain < 128, plain, 255 - plain))


# ---- stage 2 and boxes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 7, 60])
def test_neighbors_are_the_librarys(count):
    vectors = np.random.default_rng(count).normal(size=(count, 12)).astype(np.float32)
    vectors[-1] = 3 * vectors[0] + 1e-3  # as good as a copy, only that rounding does not decide which comes first
    table = neighbors.nearest_neighbors(vectors, np.arange(count), k=10)
    cosines, rows = one.nearest_neighbors(torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1))
    width = min(10, count - 1)
    assert rows.shape == (count, width)
    np.testing.assert_array_equal(rows.numpy().ravel(), table["neighbor_id"])
    np.testing.assert_allclose(cosines.numpy().ravel(), table["similarity"], atol=1e-6)
    assert rows[0, 0] == count - 1


def test_a_copy_of_an_image_is_its_neighbor_and_never_the_image_itself():
    vectors = torch.eye(4)[[0, 0, 1, 0, 2]]
    _, rows = one.nearest_neighbors(vectors)
    assert rows.shape == (5, 4)
    assert all(row not in found for row, found in enumerate(rows.tolist()))
    assert set(rows[1, :2].tolist()) == {0, 3}


def some_boxes(largest: int) -> st.SearchStrategy[np.ndarray]:
    corner, side = st.integers(0, largest), st.integers(1, largest)
    box = st.tuples(corner, corner, side, side)
    return st.lists(box, min_size=1, max_size=40).map(lambda found: np.array(found, np.int64))


@given(found=some_boxes(12), least=st.integers(1, 6), aspect=st.sampled_from([1.0, 2.0, 3.0]), most=st.integers(1, 8))
def test_filter_keeps_the_librarys_boxes(found, least, aspect, most):
    module = load()
    vars(module).update(MIN_SIDE=least, MAX_ASPECT=aspect, MAX_BOXES=most)
    reasons = boxes.filter_boxes(found, min_side=least, max_aspect=aspect, max_boxes=most)
    np.testing.assert_array_equal(module.filter_boxes(found), found[boxes.is_kept(reasons)])


@given(found=some_boxes(300))
def test_filter_of_the_paper_keeps_the_librarys_boxes(found):
    np.testing.assert_array_equal(one.filter_boxes(found), found[boxes.is_kept(boxes.filter_boxes(found))])


def test_an_overlap_of_exactly_the_most_is_kept():
    found = np.array([[0, 0, 200, 100], [0, 0, 100, 100], [1, 0, 101, 100]])  # IoU 0.5 and 0.505 with the first
    np.testing.assert_array_equal(one.filter_boxes(found), found[:2])
    np.testing.assert_array_equal(boxes.is_kept(boxes.filter_boxes(found)), [True, True, False])


@given(found=some_boxes(30))
def test_overlaps_are_the_librarys(found):
    np.testing.assert_allclose(one.iou(found[0], found), boxes.iou(found[:1], found)[0], rtol=1e-12)


def test_proposals_are_those_of_opencv_in_the_library():
    image = pixels(120, 90)
    ours = one.selective_search(tensor(image), 5)
    np.testing.assert_array_equal(ours, proposals.selective_search(image, seed=5, method="opencv"))
    np.testing.assert_array_equal(ours, one.selective_search(tensor(image), 5))
    flat = one.selective_search(torch.zeros(3, 20, 30, dtype=torch.uint8), 0)
    np.testing.assert_array_equal(flat, [[0, 0, 30, 20]])


@given(query=st.integers(1, 45), key=st.integers(1, 12), seed=st.integers(0, 1000))
def test_pairs_are_the_librarys(query, key, seed):
    rng = np.random.default_rng(seed)
    vectors = [torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(n, 6))), dim=1) for n in (query, key)]
    here, there, cosines = one.match_regions(*vectors)
    expected = pairs.match_regions(*vectors)
    assert len(here) == max(1, query // 10)
    np.testing.assert_array_equal(here, expected[0])
    np.testing.assert_array_equal(there, expected[1])
    np.testing.assert_allclose(cosines, expected[2], atol=1e-6)


def test_embeddings_are_batched_without_a_trace(small):
    encoder = small.Twins(["image"]).online.eval()
    pictures = [tensor(pixels(32, 32, seed)) for seed in range(3)]
    vectors = small.embed(encoder.backbone, pictures * 100, torch.device("cpu"))  # 300: in two parts
    assert vectors.shape == (300, 512)
    torch.testing.assert_close(vectors[-3:], small.embed(encoder.backbone, pictures, torch.device("cpu")))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(300))


@pytest.mark.filterwarnings("ignore:ks_2samp")
@pytest.mark.parametrize("box", [(100, 90, 120, 100), (0, 0, 96, 96), (500, 10, 140, 60)])
def test_jitter_is_spread_as_the_librarys(box):
    box = np.array(box)
    mine, theirs = np.random.default_rng(0), np.random.default_rng(1)
    ours = np.array([one.jitter_box(mine, box, 640, 480) for _ in range(DRAWS)])
    library = np.array([boxes.jitter_box(box, image_size=(640, 480), rng=theirs) for _ in range(DRAWS)])
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= (640, 480)).all()
    assert (boxes.iou(box[None], ours) > 0.5).all()
    for column in range(4):
        assert ks_2samp(ours[:, column], library[:, column]).pvalue > 1e-4
    # How often the center goes far: about 6 % in the middle of an image, and within five standard errors of each other.
    far = [
        (np.abs(found[:, :2] + found[:, 2:] / 2 - box[:2] - box[2:] / 2) > 0.3 * box[2:] + 1).any(axis=1).mean()
        for found in (ours, library)
    ]
    assert abs(far[0] - far[1]) < 5 * math.sqrt(2 * max(far) / DRAWS)


def test_jitter_that_finds_nothing_leaves_the_box():
    box = np.array([0, 0, 1, 1])  # within an image of one pixel only the box itself has an IoU above 0.5
    np.testing.assert_array_equal(one.jitter_box(np.random.default_rng(0), box, 1, 1), box)


# ---- the whole of it -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_three_stages_on_a_few_scenes(tmp_path, monkeypatch):
    scenes = make_scenes(tmp_path / "scenes", count=9, size=80, seed=1, disguise=True)
    (scenes.parent / "damaged.png").touch()
    names = sorted(image["file_name"] for image in json.loads(scenes.read_text())["images"])
    settings = {"images": scenes.parent, "epochs": 2, "batch": 8, "size": 32, "patch": 32, "min_side": 16, "hidden": 32}

    def run(out: str, workers: int) -> tuple[str, dict]:
        arguments = [f"--{name}={value}" for name, value in {**settings, "workers": workers, "out": out}.items()]
        do(FILE, "--small", *arguments, log=tmp_path / f"{out}.log")
        return (tmp_path / f"{out}.log").read_text(), torch.load(tmp_path / out, weights_only=False)

    monkeypatch.chdir(tmp_path)
    text, made = run("first.pt", 1)
    assert [text.count(f"stage {n}:") for n in (1, 2, 3)] == [1, 1, 1]
    assert f"left out, as they are no pictures that can be read: {scenes.parent / 'damaged.png'}\n" in text
    losses = [line for line in text.splitlines() if line.startswith("epoch")]
    assert [line.count(kind) for line in losses for kind in ("image", "intra", "inter")] == [1, 0, 0] * 2 + [1] * 6
    assert [Path(path).name for path in made["images"]] == names
    assert made["neighbors"].shape == (9, 5)
    for row, of_image in enumerate(made["pairs"]):
        assert len(of_image) == 5
        for other, of_neighbor in zip(made["neighbors"][row].tolist(), of_image, strict=True):
            assert other != row
            assert len(of_neighbor) == max(1, int(0.1 * len(made["boxes"][row])))
            for pair in of_neighbor.tolist():
                assert pair[:4] in made["boxes"][row].tolist()
                assert pair[4:] in made["boxes"][other].tolist()
    assert torchvision.models.resnet18().load_state_dict(
        {
            name.removeprefix("backbone."): weight
            for name, weight in made["stage3"].items()
            if name.startswith("backbone.")
        },
        strict=False,
    ).missing_keys == ["fc.weight", "fc.bias"]

    again_text, again = run("again.pt", 3)  # neither the process nor the number of threads shows
    assert again_text.splitlines()[:-1] == text.splitlines()[:-1]
    for stage in ("stage1", "stage3"):
        for name, weight in made[stage].items():
            assert torch.equal(weight, again[stage][name]), name
