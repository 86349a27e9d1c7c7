"""Configs: the files that come with the project, the command line, and what is refused with which words."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flat_settings import flat
from orl_explore.byol import learning_rate_at
from orl_explore.errors import OrlError
from orl_explore.images.downloads import COCO as COCO_ARCHIVES
from orl_explore.images.downloads import space_needed
from orl_explore.settings import Config, Stage1Settings
from training.config import (
    CONFIGS,
    check_key,
    config_names,
    config_parser,
    find_config,
    load_config,
    save_config,
    to_yaml,
)


def changes(config: Config) -> dict[str, object]:
    """What a config has in place of the defaults."""
    defaults, own = dict(flat(Config().as_dict())), dict(flat(config.as_dict()))
    return {key: value for key, value in own.items() if value != defaults[key]}


# ---- files -------------------------------------------------------------------------------------------------


def test_there_are_configs():
    assert {"demo", "tiny", "coco", "cocoplus", "coco_1gpu", "coco_short", "photos"} <= set(config_names())


@pytest.mark.parametrize("name", config_names())
def test_every_yaml_fits_the_code(name):
    config = load_config(name)
    named = dict(flat(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())))
    found = dict(flat(config.as_dict()))
    assert {key: found[key] for key in named} == named
    assert set(changes(config)) <= set(named)
    assert config.stage1.encoder == config.stage3.encoder  # or the stages could not be compared


@pytest.mark.parametrize("name", config_names())
def test_every_yaml_says_what_it_is(name):
    header = (CONFIGS / f"{name}.yaml").read_text().splitlines()[:3]
    assert header[0].startswith("# Command:")
    assert header[1].startswith("# What:")
    assert not header[2].startswith("#  ")  # `orl config` shows what it is in one line


@pytest.mark.parametrize("name", [*config_names(), None])
def test_yaml_round_trip(name, tmp_path):
    config = load_config(name)
    path = tmp_path / "again.yaml"
    save_config(config, path)
    assert load_config(path) == config
    assert to_yaml(load_config(path)) == path.read_text() == to_yaml(config)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dmeo", "no config 'dmeo': did you mean demo"),
        ("zzz", r"no config 'zzz': choose one of .*demo.*tiny, or a .yaml file"),
        ("missing.yaml", "no config file missing.yaml"),
    ],
)
def test_missing_configs(name, message):
    with pytest.raises(OrlError, match=message):
        find_config(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stage1: {epochs: 3, epoch: 4}", "unknown setting 'stage1.epoch' in .*did you mean stage1.epochs?"),
        ("stage1: {encoder: {width: 4}}", "unknown setting 'stage1.encoder.width'"),
        ("stage1: {encoder: resnet18}", "'stage1.encoder' in .*is a group of settings: set stage1.encoder.backbone"),
        ("stages: {epochs: 3}", "unknown setting 'stages.epochs' in .*did you mean stage[13].epochs"),
        ("sed: 1", "unknown setting 'sed' in .*did you mean seed?"),
        ("stage1: 5", "'stage1' in .*is a group of settings: set stage1.encoder.backbone"),  # a group is no setting
        ("seed: hello", "config: .*seed.*int.*hello"),
        ("stage1: {epochs: 1.5}", "stage1.epochs.*int.*1.5"),
        ("stage2: {mutual: 3}", "stage2.mutual.*bool.*3"),
        ("precision: fp8", "precision.*'bf16'.*fp8"),
        ("stage1: {views: {blur: [1.0]}}", "stage1.views.blur.*2 elements"),
        ("stage1: {epochs: 0}", "stage1.epochs is 0: it must be above 0"),
        ("", "must hold keys and values"),
        ("- 1", "must hold keys and values"),
        ("a: [b", "is not valid YAML"),
        ("stage1: {epochs: 5}\nseed: 1\nstage1: {ema: 0.9}", "the key 'stage1' is there a second time: .* line 3,"),
        ("stage1: {epochs: 5, ema: 0.9, epochs: 6}", "the key 'epochs' is there a second time: .* line 1, column 31"),
        ("stage1: &a {seed: 1}\nstage3: {<<: *a, ema: 0.9, ema: 1}", "the key 'ema' is there a second time"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(OrlError, match=message) as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_merged_keys_may_be_given_anew(tmp_path):
    path = tmp_path / "merged.yaml"
    stage1 = "stage1: {views: &strong {<<: &weak {flip: 0, gray: 0}, gray: 1}, epochs: 9}"
    path.write_text(f"{stage1}\nstage3: {{views: {{<<: *strong, <<: *weak, hue: 0, flip: 1}}}}")
    config = load_config(path)
    assert (config.stage1.views.flip, config.stage1.views.gray, config.stage1.epochs) == (0, 1, 9)
    assert (config.stage3.views.flip, config.stage3.views.hue) == (1, 0)


# ---- recipes -----------------------------------------------------------------------------------------------


COCO, COCOPLUS = 118_287, 241_690


@pytest.mark.parametrize(
    ("name", "images", "steps", "rate", "passes", "hours"),
    [
        # 800 epochs of 231 batches of 512 images and one of 15: 800 * 118,287 / 3600 = 26,286 hours at one a second
        ("coco", COCO, 185_600, 0.4, 1, 26_286),
        ("coco_paper", COCO, 185_600, 0.4, 1, 26_286),
        # 241,690 = 472 * 512 + 26; 800 * 241,690 / 3600 = 53,708.9
        ("cocoplus", COCOPLUS, 378_400, 0.4, 1, 53_709),
        ("coco_1gpu", COCO, 185_600, 0.4, 2, 26_286),  # the batch, the steps and the rate of coco
        ("coco_short", COCO, 23_200, 0.4, 1, 3_286),  # 100 epochs: 3,285.75
    ],
)
def test_recipes_by_hand(name, images, steps, rate, passes, hours):
    config = load_config(name)
    for stage in (config.stage1, config.stage3):
        assert stage.total_steps(images) == steps
        assert stage.learning_rate() == pytest.approx(rate)
        assert stage.accumulate == passes
        # Half a cosine over all epochs, times a warm-up of 4 epochs from 1e-4.
        per_epoch = steps // stage.epochs
        assert learning_rate_at(stage, 0, images) == pytest.approx(rate * 1e-4)
        warm = (1 + math.cos(4 * math.pi / stage.epochs)) / 2
        assert learning_rate_at(stage, 4 * per_epoch, images) == pytest.approx(rate * warm)
        assert learning_rate_at(stage, steps // 2, images) == pytest.approx(rate / 2)
        last = (1 + math.cos(math.pi * (1 - 1 / stage.epochs))) / 2  # of the last epoch, to its last step
        assert learning_rate_at(stage, steps - per_epoch, images) == pytest.approx(rate * last)
        assert learning_rate_at(stage, steps - 1, images) == pytest.approx(rate * last)
    text = " ".join((CONFIGS / f"{name}.yaml").read_text().replace("#", " ").split())
    assert f"Hours: {hours} / (images/s) for stage 1" in text
    assert f": {config.stage1.epochs} epochs of {images:,} images, by 3600." in text
    assert round(config.stage1.epochs * images / 3600) == hours


@pytest.mark.parametrize(
    ("name", "departures"),
    [
        ("coco", {}),
        ("cocoplus", {}),
        ("coco_1gpu", {"stage1.accumulate": (1, 2), "stage3.accumulate": (1, 2)}),
        ("coco_short", {"stage1.epochs": (800, 100), "stage3.epochs": (800, 100)}),
    ],
)
def test_recipes_depart_from_the_paper_in_what_they_say(name, departures):
    assert load_config(name).differences() == Config().differences() | departures  # those of the defaults, and these


@pytest.mark.parametrize("name", ["coco", "cocoplus", "coco_1gpu", "coco_short"])
def test_recipes_have_the_papers_settings(name):
    """Value by value, as the authors published them; nothing here is read from the defaults."""
    config = load_config(name)
    for stage in (config.stage1, config.stage3):
        assert (stage.encoder.backbone, stage.encoder.hidden, stage.encoder.dim) == ("resnet50", 4096, 256)
        assert (stage.batch_size, stage.base_lr, stage.warmup_epochs) == (512, 0.4, 4)
        assert (stage.momentum, stage.weight_decay, stage.ema, stage.image_size) == (0.9, 1e-4, 0.99, 224)
    mining = config.stage2
    assert (mining.encoder, mining.image_size, mining.neighbors) == (None, 224, 10)
    assert (mining.min_side, mining.max_aspect, mining.max_iou, mining.max_boxes) == (96, 3, 0.5, 100)
    assert mining.pair_ratio == 0.1
    assert (mining.mutual, mining.one_to_one, mining.min_similarity, mining.max_image_similarity) == (False,) * 2 + (
        None,
    ) * 2
    assert mining.max_side is None
    objects = config.stage3
    assert (objects.patch_size, objects.image_weight, objects.intra_weight, objects.inter_weight) == (96, 1, 1, 1)
    assert objects.reviews is None


TRAINED_IN_SMALL = {"encoder.backbone", "encoder.hidden", "encoder.init", "views.blur_sigma", "image_size", "epochs"}
TRAINED_IN_SMALL |= {"batch_size", "warmup_epochs", "checkpoint_steps"}


@pytest.mark.parametrize(
    ("name", "training", "mining"),
    [
        ("demo", {"base_lr", "ema"}, {"image_size", "min_side", "shard_images"}),
        ("tiny", set(), {"image_size", "max_side", "shard_images"}),
        (
            "explore",
            set(),
            {
                "image_size",
                "max_side",
                "shard_images",
                "encoder",
                "encoder_size",
                "max_boxes",
                "neighbors",
                "batch_size",
            },
        ),
    ],
)
def test_small_configs_depart_in_what_docs_differences_says(name, training, mining):
    keys = {f"{stage}.{key}" for stage in ("stage1", "stage3") for key in TRAINED_IN_SMALL | training}
    assert changes(load_config(name)).keys() == keys | {f"stage2.{key}" for key in mining} | {"stage3.patch_size"}
    assert load_config(name).stage1.encoder.init == "torchvision"


def test_photos():
    config = load_config("photos")
    assert config.stage1.learning_rate() == config.stage3.learning_rate() == pytest.approx(0.1)  # 0.4 * 128 / 512
    assert config.stage1.total_steps(1000) == 200 * 8  # 7 batches of 128 images and one of 104
    assert "0.0556 * images" in (CONFIGS / "photos.yaml").read_text()  # 200 / 3600
    # The search sees 640 px of 4000, as of COCO; the smallest box is in original pixels: 96 * 4000 / 640.
    assert config.stage2.max_side == 640
    assert "for pictures of 4000 px take --stage2.min_side 600" in (CONFIGS / "photos.yaml").read_text()


@pytest.mark.parametrize(("name", "splits"), [("coco", ["train2017"]), ("cocoplus", ["train2017", "unlabeled2017"])])
def test_recipes_say_how_much_disk_the_images_take(name, splits, tmp_path):
    archives = [archive for split in splits for archive in COCO_ARCHIVES[split]]
    peak, after = (
        space_needed(tmp_path, archives) / 1e9,
        sum(archive.unpacked for archive in dict.fromkeys(archives)) / 1e9,
    )
    line = (CONFIGS / f"{name}.yaml").read_text().partition("# Disk:")[2]
    said = [int(number) for number in re.findall(r"(\d+) GB", line)[:2]]
    assert peak <= said[0] <= peak + 2
    assert after <= said[1] <= after + 2


# ---- the command line --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (["--stage1.epochs", "20"], "stage1.epochs", 20),
        (["--stage1.epochs=20"], "stage1.epochs", 20),
        (["--stage1.encoder.backbone", "timm:resnet26d"], "stage1.encoder.backbone", "timm:resnet26d"),
        (["--stage2.mutual", "true"], "stage2.mutual", True),
        (["--stage2.min_similarity", "-0.1"], "stage2.min_similarity", -0.1),
        (["--stage1.views.crop_scale", "[0.2, 1.0]"], "stage1.views.crop_scale", [0.2, 1.0]),
        (["--stage1.warmup_epochs", "0.5"], "stage1.warmup_epochs", 0.5),
        (["--devices", "2"], "devices", 2),
        (["--workers", "0"], "workers", 0),
        (["--precision", "fp32"], "precision", "fp32"),
    ],
)
def test_one_override(arguments, key, value):
    assert changes(load_config(None, arguments)) == {key: value}


def test_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("seed: 4\nstage1: {epochs: 30, base_lr: 0.1}")
    config = load_config(path, ["--stage1.epochs", "40"])
    assert changes(config) == {"seed": 4, "stage1.epochs": 40, "stage1.base_lr": 0.1}
    assert load_config(path).stage1.epochs == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage1.epoch", "5"], "unknown setting 'stage1.epoch' on the command line: did you mean stage1.epochs?"),
        (["--epochs", "5"], "unknown setting 'epochs' .*did you mean stage1.epochs or stage3.epochs?"),
        (["--nonsense_xyz", "5"], "unknown setting 'nonsense_xyz' .*`orl config`"),
        (["--stage1.epochs", "many"], "stage1.epochs.*int.*many"),
        (["--stage1.epochs"], "stage1.epochs: expected one argument"),
        (["stray"], "'stray' belongs to no setting: settings are typed as `--stage1.epochs 5`, and images .* --images"),
        (["--seed=1", "a b.jpg"], "'a b.jpg' belongs to no setting"),
        (["--seed", "1", "x"], "'x' belongs to no setting"),
        (["seed=3"], "'seed=3' belongs to no setting: settings are typed as `--seed=3`$"),
        (["--seed", "1", "ema=0.9"], "typed as `--stage1.ema=0.9` or `--stage3.ema=0.9`$"),
        (["stage1.epoch=3"], "typed as `--stage1.epochs=3`$"),
        # out of range
        (["--stage1.epochs", "2"], "stage1.warmup_epochs is 4.*below the 2 epochs"),
        (["--stage1.batch_size", "1"], "batch normalization needs at least 2"),
        (["--stage3.batch_size", "-4"], "stage3.batch_size is -4: it must be above 0"),
        (["--stage1.accumulate", "3"], "stage1.accumulate is 3: it must divide the batch of 512"),
        (["--stage3.accumulate", "512"], "equal passes of at least 2 images"),
        (["--stage3.accumulate", "0"], "stage3.accumulate is 0: it must be above 0"),
        (["--stage1.base_lr", "0"], "stage1.base_lr is 0.0: it must be above 0"),
        (["--stage1.base_lr", ".nan"], "stage1.base_lr is nan: it must be above 0"),
        (["--stage1.base_lr", "1e400"], "stage1.base_lr is inf: it must be above 0 and finite"),
        (["--stage2.max_aspect", "0.5"], "stage2.max_aspect is 0.5: it must be at least 1"),
        (["--stage2.min_side", "-5"], "stage2.min_side is -5: it must be 0 or more"),
        (["--evaluate.test_share", "1"], "evaluate.test_share is 1.0: it must be at least 0 and below 1"),
        (
            ["--seed", "9223372036854775808"],
            "seed is 9223372036854775808: it must be 0 or more, and at most 9223372036854775807",
        ),
        (["--evaluate.max_crops", "0"], "evaluate.max_crops is 0: it must be above 0"),
        (["--stage1.ema", "1.5"], "stage1.ema is 1.5: it must lie between 0 and 1"),
        (["--stage1.momentum", "-1"], "stage1.momentum is -1.0"),
        (["--stage3.patch_size", "0"], "stage3.patch_size is 0"),
        (["--stage2.pair_ratio", "0"], "stage2.pair_ratio is 0.0: it must lie above 0"),
        (["--stage2.pair_ratio", "1.1"], "stage2.pair_ratio is 1.1"),
        (["--stage2.min_similarity", "-2"], "stage2.min_similarity is -2.0: it must lie between -1 and 1"),
        (["--stage2.max_image_similarity", "98"], "stage2.max_image_similarity is 98.0: it must lie between -1 and 1"),
        (["--stage2.neighbors", "0"], "stage2.neighbors is 0"),
        (["--stage2.batch_size", "0"], "stage2.batch_size is 0"),
        (["--stage2.shard_images", "0"], "stage2.shard_images is 0"),
        (["--stage2.max_boxes", "0"], "stage2.max_boxes is 0"),
        (["--stage2.max_side", "0"], "stage2.max_side is 0"),
        (["--stage2.proposals", "slow"], "proposals"),
        (["--seed", "-1"], "seed is -1: it must be 0 or more"),
        (["--workers", "-1"], "workers is -1"),
        (["--devices", "0"], "devices is 0"),
    ],
)
def test_refused_overrides(arguments, message):
    with pytest.raises(OrlError, match=message) as error:
        load_config(None, arguments)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@given(st.sampled_from([key for key, _ in flat(Config().as_dict())]), st.data())
def test_a_slip_of_the_finger_is_recognized(key, data):
    name = key.rpartition(".")[2]
    if len(name) < 4:
        return
    at = data.draw(st.integers(1, len(name) - 1))
    typed = key[: len(key) - len(name)] + name[:at] + name[at + 1 :]  # one letter forgotten
    if typed in dict(flat(Config().as_dict())):
        return
    with pytest.raises(OrlError, match="did you mean") as error:
        check_key(typed, where="here")
    suggested = str(error.value).partition("did you mean ")[2].rstrip("?")
    assert suggested.rpartition(".")[2] == name or suggested in dict(flat(Config().as_dict()))


# ---- every setting ------------------------------------------------------------------------------------------


def test_every_setting_is_explained():
    text = config_parser(prog="orl").format_help()
    assert all(f"--{key} " in text for key, _ in flat(Config().as_dict()))
    assert "Learning rate at a batch of 512" in text


@pytest.mark.slow
@given(st.integers(0, 10**6), st.floats(1e-6, 10), st.one_of(st.none(), st.floats(-1, 1)))
def test_yaml_keeps_every_digit(seed, rate, similarity):
    config = Config(seed=seed, stage1=Stage1Settings(base_lr=rate))
    again = yaml.safe_load(
        to_yaml(dataclasses.replace(config, stage2=dataclasses.replace(config.stage2, min_similarity=similarity)))
    )
    assert again["seed"] == seed
    assert math.isclose(float(again["stage1"]["base_lr"]), rate, rel_tol=0)
    assert again["stage2"]["min_similarity"] == similarity
