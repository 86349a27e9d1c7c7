"""Encoders are fed as they were trained, and those of this project as ever."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from orl_explore.embedding import embed_files, embed_images, embed_picture, embed_regions
from orl_explore.encoder import Encoder, build_backbone, timm_backbone
from orl_explore.errors import OrlError
from orl_explore.images.opening import open_images
from orl_explore.interchange.weights import read_encoder
from orl_explore.pretrained import embedding_widths, timm_inputs, torchvision_inputs, without_projector
from orl_explore.settings import EncoderSettings, InputSettings, Stage2Settings
from orl_explore.views import cropping


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three pictures of waves, wide, high and square, and so smooth that any way to resize them is much the same."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (width, height) in enumerate([(190, 170), (153, 320), (401, 401)]):
        y, x = np.mgrid[:height, :width] / 30
        waves = np.stack([np.sin(x + number), np.cos(y * 0.7), np.sin(x * 0.5 + y)], axis=-1)
        Image.fromarray((127.5 + 120 * waves).astype(np.uint8)).save(folder / f"{number}.png")
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def pictures(files):
    return open_images([files[0].parent])


@pytest.fixture(scope="module")
def boxes(pictures):
    ids = pictures.table["image_id"].to_numpy()
    rows = [(ids[0], 0, 0, 33, 50), (ids[0], 10, 5, 80, 160), (ids[2], 100, 3, 264, 390)]
    return pd.DataFrame(rows, columns=["image_id", "x", "y", "w", "h"])


class Grid(nn.Module):
    """A backbone that says what it sees: the means of nine fields, each of three colors."""

    def forward(self, images):
        self.seen = images
        return nn.functional.adaptive_avg_pool2d(images, 3).flatten(1)


def fed_by(inputs: InputSettings) -> Encoder:
    """An encoder that says what it sees."""
    encoder = without_projector("timm:test_resnet")
    encoder.backbone, encoder.width, encoder.inputs = Grid(), 27, inputs
    return encoder


# ---- this project's own ----------------------------------------------------------------------------------------------

# By the commit before encoders had inputs of their own: what Grid sees at 33 px, of image 1 and of region 1.
GOLDEN = {
    "image": [0.239731, -0.073621, -0.2397, -0.202421, 0.038865, -0.06096, 0.269849],
    "region": [0.186629, 0.267145, 0.155442, -0.07587, -0.232786, 0.229167, -0.175779],
}


def test_own_encoders_see_what_they_always_saw(pictures, files, boxes):
    encoder = fed_by(InputSettings())
    images = embed_images(encoder, pictures, size=33)
    assert images[1, ::4] == pytest.approx(GOLDEN["image"], abs=2e-6)
    assert embed_regions(encoder, pictures, boxes, size=33)[1, ::4] == pytest.approx(GOLDEN["region"], abs=2e-6)
    np.testing.assert_allclose(embed_files(encoder, files, size=33), images, atol=1e-6)
    np.testing.assert_allclose(embed_picture(encoder, pictures.load(1), size=33), images[1], atol=1e-6)


def test_own_files_say_nothing_of_inputs(encoder_settings, tmp_path):
    """So they are the files that they were, to the byte, and older ones are read as they were meant."""
    Encoder.random(encoder_settings, seed=0).save(tmp_path / "own.safetensors", stage="stage1")
    with (tmp_path / "own.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert json.loads(header["__metadata__"]["encoder"]).keys() == {"settings", "provenance"}
    assert Encoder.load(tmp_path / "own.safetensors").inputs == InputSettings()


# ---- others' ---------------------------------------------------------------------------------------------------------

SMALL = {
    "ResNet": ("test_resnet", {}),
    "ConvNeXt": ("test_convnext", {}),
    "EfficientNet": ("test_efficientnet", {}),
    "MambaOut": ("test_mambaout", {}),  # its own way of pooling makes it wider than its last map
    "MobileNetV3": ("mobilenetv3_small_050", {}),  # likewise
    "MaxViT": ("test_maxvit", {}),  # of one size
    "Swin": ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 2)}),
    "ViT": ("test_vit", {}),
    "ViT, average": ("test_vit3", {}),
    "ViT, attention pooling": ("test_vit4", {}),
    "DINOv2": ("vit_small_patch14_reg4_dinov2", {"embed_dim": 48, "depth": 1, "num_heads": 2}),
    "DINOv3": ("vit_small_patch16_dinov3", {"embed_dim": 48, "depth": 1, "num_heads": 2}),
}


def small(family: str, **overlay: object) -> Encoder:
    """A small random model of a family of timm's, with the configuration of its large relatives."""
    name, options = SMALL[family]
    torch.manual_seed(0)
    encoder = without_projector("timm:test_resnet")
    backbone = (
        timm_backbone(name, pretrained_cfg_overlay=overlay, **options) if overlay else timm_backbone(name, **options)
    )
    encoder.backbone, encoder.width = backbone, int(backbone.head_hidden_size)
    encoder.inputs = timm_inputs(backbone, family)
    return encoder.eval()


def seen_by(encoder: Encoder, embed) -> tuple[torch.Tensor, np.ndarray]:
    """What goes into the backbone, and what comes out of `embed`."""
    seen = []
    hook = encoder.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    found = embed()
    hook.remove()
    return torch.cat(seen), found


def levels(a: torch.Tensor, b: torch.Tensor, encoder: Encoder) -> torch.Tensor:
    """How far two inputs are apart, in gray levels."""
    std = torch.tensor(encoder.inputs.std).view(3, 1, 1)
    return (a - b).abs() * std * 255


@pytest.mark.parametrize("family", SMALL)
def test_images_and_regions_as_timm_evaluates(family, pictures, boxes):
    encoder = small(family)
    config = timm.data.resolve_model_data_config(encoder.backbone)
    side = config["input_size"][-1]
    transform = timm.data.create_transform(**config, is_training=False)
    expected = torch.stack([transform(pictures.load(row)) for row in range(len(pictures))])
    seen, found = seen_by(encoder, lambda: embed_images(encoder, pictures, size=32))
    assert seen.shape == (3, 3, side, side)
    assert levels(seen, expected, encoder).max() < 1e-3  # Pillow resizes both
    assert found.shape == (3, encoder.width)
    assert np.isfinite(found).all()

    whole = timm.data.create_transform(**{**config, "crop_pct": 1.0, "crop_mode": "squash"}, is_training=False)
    crops = [
        pictures.load(row).crop((x, y, x + w, y + h))
        for row, (x, y, w, h) in zip([0, 0, 2], boxes[["x", "y", "w", "h"]].to_numpy(), strict=True)
    ]
    seen, found = seen_by(encoder, lambda: embed_regions(encoder, pictures, boxes, size=32))
    apart = levels(seen, torch.stack([whole(crop) for crop in crops]), encoder)
    assert apart.max() < 2.01  # torch and Pillow round some pixels differently, bicubic ones in between, too
    assert apart.mean() < 0.3
    assert found.shape == (3, encoder.width)


@pytest.mark.parametrize(
    "overlay", [{"crop_mode": "squash", "crop_pct": 1.0}, {"crop_mode": "border", "crop_pct": 0.9}]
)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_other_ways_to_crop(overlay, interpolation, pictures):
    encoder = small("ViT", interpolation=interpolation, **overlay)
    config = timm.data.resolve_model_data_config(encoder.backbone)
    assert (config["crop_mode"], config["interpolation"]) == (overlay["crop_mode"], interpolation)
    transform = timm.data.create_transform(**config, is_training=False)
    for row in range(len(pictures)):
        found = cropping.center_view(pictures.load(row), encoder.inputs.side(1), encoder.inputs)
        found = (torch.from_numpy(np.array(found)).permute(2, 0, 1) / 255 - 0.5) / 0.5
        assert levels(found, transform(pictures.load(row)), encoder).max() < 1e-3


@pytest.mark.parametrize("weights", ["ResNet18_Weights.IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V2"])
def test_torchvision_feeds_its_models_the_same(weights, pictures):
    import torchvision

    transform = torchvision.models.get_weight(weights).transforms()
    encoder = fed_by(torchvision_inputs(transform))
    embed_images(encoder, pictures, size=32)
    expected = torch.stack([transform(pictures.load(row)) for row in range(len(pictures))])
    assert levels(encoder.backbone.seen, expected, encoder).max() < 1e-3


def test_files_and_single_pictures_are_fed_like_images(pictures, files):
    encoder = fed_by(
        InputSettings(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), interpolation="bicubic", crop=0.9, size=40)
    )
    images = embed_images(encoder, pictures, size=32)
    assert encoder.backbone.seen.shape[-1] == 40
    np.testing.assert_allclose(embed_files(encoder, files, size=32), images, atol=1e-6)
    np.testing.assert_allclose(embed_picture(encoder, pictures.load(2), size=32), images[2], atol=1e-6)
    squeezed = embed_files(encoder, files, size=32, squeeze=True)
    whole = pictures.load(1).resize((44, 92), Image.Resampling.BICUBIC)  # 153 x 320, the shorter side to 40 / 0.9
    whole = whole.resize((40, 40), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(whole)).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (encoder.inputs.mean, encoder.inputs.std))
    by_hand = nn.functional.normalize(Grid()((pixels - mean) / std), dim=1)[0]
    np.testing.assert_allclose(squeezed[1], by_hand, atol=1e-5)


def test_classifiers_and_detectors_feed_it_the_same():
    """Networks that are trained on top of an encoder normalize as it was trained."""
    from training.transfer.fitting import Heads
    from training.transfer.linear import LinearProbe
    from training.transfer.mask_rcnn import DetectionSettings, mask_rcnn
    from training.transfer.semi import FineTuned

    encoder = small("ResNet")
    pixels = torch.arange(2 * 3 * 64 * 64).remainder(251).to(torch.uint8).view(2, 3, 64, 64)
    expected = (pixels / 255 - 0.5) / 0.5
    for network in (FineTuned(encoder, 2), LinearProbe(encoder, 2, "last", size=64)):
        heads = Heads(network, groups=[], factor=lambda epoch: 1.0, steps_per_epoch=1, epochs=1, sgd={})
        seen = []
        hook = network.backbone.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        heads.training_step({"image": pixels, "shift": torch.zeros(2, 3), "label": torch.tensor([0, 1])}, 0)
        hook.remove()
        torch.testing.assert_close(seen[0], expected)
    detector = mask_rcnn(encoder, 2, DetectionSettings(channels=8), seed=0)
    assert (detector.transform.image_mean, detector.transform.image_std) == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("family", ["ViT", "Swin", "DINOv2", "DINOv3"])
def test_transformers_of_one_size_take_others(family):
    encoder = small(family)
    size = {"DINOv2": 112}.get(family, 96)
    assert size != encoder.inputs.size
    encoder.inputs = dataclasses.replace(encoder.inputs, size=size)
    assert embedding_widths(encoder, family, 7) == (encoder.width, encoder.width)


def test_what_takes_one_size_alone_is_given_that():
    encoder = small("MaxViT")
    assert embedding_widths(encoder, "MaxViT", 96) == (encoder.width, encoder.width)
    encoder.inputs = dataclasses.replace(encoder.inputs, size=96)
    with pytest.raises(OrlError, match=r"MaxViT cannot see crops of 96 px .*with --knn.image_size"):
        embedding_widths(encoder, "MaxViT", 96, setting="--knn.image_size")


@pytest.mark.parametrize("name", ["test_resnet", "test_mambaout", "mobilenetv3_small_050", "test_vit4", "test_nfnet"])
def test_announced_widths(name):
    backbone, width = build_backbone(f"timm:{name}")
    with torch.inference_mode():
        assert backbone.eval()(torch.zeros(1, 3, 160, 160)).shape == (1, width)


def test_asking_for_dynamic_sizes_draws_nothing():
    """The weights of networks that are trained here begin as they did."""
    torch.manual_seed(5)
    ours = timm_backbone("test_resnet").state_dict()
    torch.manual_seed(5)
    theirs = timm.create_model("test_resnet", num_classes=0).state_dict()
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())


def test_a_model_that_sees_something_else_is_refused():
    backbone = timm_backbone("test_vit", pretrained_cfg_overlay={"input_size": (1, 160, 160)})
    with pytest.raises(OrlError, match="timm:test_vit sees 1 x 160 x 160 numbers: take one for square pictures"):
        timm_inputs(backbone, "timm:test_vit")
    backbone = timm_backbone("test_vit", pretrained_cfg_overlay={"interpolation": "hamming"})
    with pytest.raises(OrlError, match=r"inputs.interpolation is 'hamming': choose one of bilinear, bicubic"):
        timm_inputs(backbone, "timm:test_vit")


# ---- kept with the encoder -----------------------------------------------------------------------------------------

ODD = InputSettings(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation="bicubic", crop=224 / 232, size=40)


def test_inputs_travel_in_the_file(encoder_settings, tmp_path):
    encoder = Encoder.random(encoder_settings, seed=0)
    encoder.inputs = ODD
    encoder.save(tmp_path / "odd.safetensors")
    assert Encoder.load(tmp_path / "odd.safetensors").inputs == ODD
    assert read_encoder(tmp_path / "odd.safetensors")[0].inputs == ODD  # by `orl import`


@pytest.mark.parametrize("inputs", [{"mean": [0.5, 0.5]}, {"std": [1, 0, 1]}, {"crop": "wide"}, {"size": -3}, 5])
def test_damaged_inputs_are_refused(inputs, tmp_path):
    path = tmp_path / "encoder.safetensors"
    settings = {"backbone": "timm:test_resnet", "hidden": 0, "dim": 96}
    state = Encoder(EncoderSettings(**settings)).state_dict()
    text = json.dumps({"settings": settings, "provenance": {}, "inputs": inputs})
    save_file(state, path, metadata={"encoder": text})
    for read in (Encoder.load, read_encoder):
        with pytest.raises(OrlError, match="made by another version"):
            read(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"std": (0.1, 0.0, 0.1)}, "inputs.std .* std > 0"),
        ({"crop": 1.5}, "inputs.crop is 1.5"),
        ({"crop_mode": "left"}, "choose one of center, squash, border"),
        ({"size": 0}, "inputs.size is 0"),
    ],
)
def test_impossible_inputs(values, message):
    with pytest.raises(OrlError, match=message):
        InputSettings(**values)


def test_another_size_is_for_another_encoder():
    assert Stage2Settings(encoder="embedded", encoder_size=160).encoder_size == 160
    with pytest.raises(OrlError, match=r"stage2.encoder_size is 160, .*name one with --stage2.encoder"):
        Stage2Settings(encoder_size=160)
    with pytest.raises(OrlError, match=r"stage2.encoder_size is 0: it must be above 0"):
        Stage2Settings(encoder="embedded", encoder_size=0)
