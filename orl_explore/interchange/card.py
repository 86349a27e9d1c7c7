"""The model card that is written with every exported encoder: what it is, how to load it, what is known of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError, typed
from orl_explore.numbers import percent_text
from orl_explore.runs.files import atomic_write, hash_file
from orl_explore.runs.run import Run

LOADING: Final = {
    "torchvision": """\
import torch, torchvision
from safetensors.torch import load_file
model = torchvision.models.{name}()
model.fc = torch.nn.Identity()
model.load_state_dict(load_file("{file}"))""",
    "timm": """\
import timm
model = timm.create_model("{name}", num_classes=0, checkpoint_path="{file}")""",
    "detectron2": """\
# config.yaml of Detectron2
MODEL:
  WEIGHTS: {file}
  PIXEL_MEAN: [123.675, 116.28, 103.53]
  PIXEL_STD: [58.395, 57.12, 57.375]
  RESNETS: {{{shape}, STRIDE_IN_1X1: false, NORM: SyncBN}}
  BACKBONE: {{FREEZE_AT: 0}}
  FPN: {{NORM: SyncBN}}
  ROI_BOX_HEAD: {{NAME: FastRCNNConvFCHead, NUM_CONV: 4, NUM_FC: 1, NORM: SyncBN}}
  ROI_MASK_HEAD: {{NORM: SyncBN}}
INPUT: {{FORMAT: RGB}}
TEST: {{PRECISE_BN: {{ENABLED: true}}}}""",
    "mmdetection": """\
# config of MMDetection
backbone=dict({shape}, style="pytorch",
              init_cfg=dict(type="Pretrained", checkpoint="{file}"))""",
    "onnx": """\
import onnxruntime
session = onnxruntime.InferenceSession("{file}")
(features,) = session.run(["features"], {{"images": images}})  # float32 (N, 3, H, W), normalized as above""",
}


def resnet_shape(name: str, target: str) -> str:
    """How Detectron2's or MMDetection's config spells the shape of one of torchvision's ResNets.

    Raises:
        OrlError: that library has no such network.
    """
    found = re.fullmatch(r"(?:wide_)?resnex?t(\d+)(?:_(\d+)(?:x(\d+)d)?)?", name)
    assert found, name
    depth, groups, width = found.groups()
    if name.startswith("wide"):
        groups, width = "1", str(64 * int(groups))
    if target == "detectron2":
        settings = f"DEPTH: {depth}"
        if int(depth) < 50:
            return f"{settings}, RES2_OUT_CHANNELS: 64"
        return f"{settings}, NUM_GROUPS: {groups}, WIDTH_PER_GROUP: {width}" if groups else settings
    if name.startswith("wide"):
        raise OrlError(f"MMDetection has no {name}: export it for torchvision or detectron2")
    if groups:
        return f'type="ResNeXt", depth={depth}, groups={groups}, base_width={width}'
    return f'type="ResNet", depth={depth}'


def write_card(path: Path, *, weights: Path, target: str, encoder: Encoder, run: Run, stage: str) -> None:
    """Write the card of an exported encoder as Markdown.

    Args:
        path: where to.
        weights: the exported file.
        target: the library it is for, a key of `weights.TARGETS`.
        encoder: what was exported.
        run: where it came from.
        stage: its stage.
    """
    manifest, record = run.manifest(), run.stage(stage)
    name = encoder.settings.backbone.removeprefix("timm:")
    shape = resnet_shape(name, target) if target in ("detectron2", "mmdetection") else ""
    images = manifest["images"]
    imported = record.get("imported")
    config = record.get("config", {})
    if imported:  # who trained it, on what and how, is not known
        files = ", ".join(f"`{source['file'].replace('`', '')}`" for source in imported["files"])
        kind, rows = "as it was imported", f"| origin | imported from {files}; how it was trained is not recorded |"
    else:
        about = {"stage1": "image-level (BYOL)", "stage3": "object-level (ORL)"}[stage]
        kind = f"pre-trained without labels, {about}"
        rows = f"""\
| origin | trained for {config.get("epochs", "?")} epochs at a batch of {config.get("batch_size", "?")}, \
seed {record.get("seed")} |
| images | {images["count"]:,} (fingerprint {images["fingerprint"]}) |
| trained at | {config.get("image_size", "?")} px |"""
    code = LOADING[target].format(name=name, file=weights.name, shape=shape)
    output, left_out = f"pooled feature of {encoder.width} numbers", "The projector and the predictors"
    if target == "onnx" and encoder.settings.hidden:
        output = f"`features`: {output}; `projection`: the projector's output of {encoder.settings.dim}"
        left_out = "The predictors"
    text = f"""\
# {weights.name}

A {name} backbone without a classifier, {kind}: {stage} of the run `{run.path.name}`.

| | |
| --- | --- |
{rows}
| output | {output} |
| input | RGB, divided by 255, mean {encoder.inputs.mean}, standard deviation {encoder.inputs.std} |
| file | {target}, blake2b {hash_file(weights)} |

## Load it

```python
{code}
```

## How good it is

{_figures(run, stage)}

## What to know

- It was trained on pictures that nobody checked for bias or consent: look at what it does before it decides anything.
- The licenses of those pictures and, for imported weights, of their authors go on to hold; this file adds none.
- {left_out} of the training are not in the file.
"""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _figures(run: Run, stage: str) -> str:
    """What `orl evaluate` measured, beside chance; or that nobody has."""
    try:
        summary: dict[str, Any] = json.loads((run.path / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return f"Nobody has measured it yet: `{typed('evaluate', run.path.name)}`."
    chance = summary.get("chance") or {}
    rows = [
        f"| {label} | {percent_text(summary[stage][key])} | {percent_text(chance[key]) if key in chance else ''} |"
        for key, label in (
            ("object_probe", "linear probe on annotated objects"),
            ("object_knn", "kNN on annotated objects"),
            ("scene_map", "categories of a scene, mAP"),
        )
        if key in (summary.get(stage) or {})
    ]
    if not rows:
        return "The images have no labels to measure it by."
    return "\n".join(["| on the run's own images | this | chance |", "| --- | --- | --- |", *rows])
