"""Page: one training sample of stage 3, drawn by the code that training uses, and the three losses on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from orl_explore.boxes import iou
from orl_explore.errors import OrlError, typed
from orl_explore.figures import drawing, style
from orl_explore.numbers import similarity_text
from orl_explore.orl import Sample
from orl_explore.runs import replay
from orl_explore.runs.checkpoints import named_checkpoints
from orl_explore.runs.run import Run
from orl_explore.runs.samples import ObjectViews
from orl_explore.ui import chooser, state
from orl_explore.views.parameters import SOLARIZE_THRESHOLD, ViewParameters

COLORS = (style.PALETTE[0], style.PALETTE[1])
"""Of the first and the second box, everywhere on the page."""

PICTURE = 480


def render(run: Run) -> None:
    """Show the page."""
    samples = _samples(run)
    image_id = chooser.choose(run)
    row = state.row_of(run, image_id)
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top:
        epoch = _choose_epoch(samples)
    if row not in samples.rows:
        raise OrlError(f"there is no pair for image {image_id}: stage 3 leaves it out; choose another image")
    sample = samples.sample(epoch, row)
    image, neighbor = (state.images(run).load(state.row_of(run, i)) for i in (image_id, sample.neighbor_id))
    config = samples.config
    drawn = replay.pictures(samples, epoch, row)
    patches = {name: Image.fromarray(view.permute(1, 2, 0).numpy()) for name, view in drawn.items()}

    with top:
        _where(run, samples, epoch, row)
    losses = _losses(run, samples, epoch, row)
    size = f"{config.image_size} x {config.image_size}"
    _part(
        "Two views of the whole image",
        f"Two random crops, each distorted by itself and resized to {size} pixels.",
        [(image, [view.box for view in sample.views], ["1", "2"], COLORS)],
        [patches["view1"], patches["view2"]],
        sample.views,
        losses and ("image", losses),
    )
    overlap = float(iou(*(np.array([view.box], float) for view in sample.intra))[0, 0])
    size = f"{config.patch_size} x {config.patch_size}"
    same = " The jitter found no other box, so both are the same." if sample.intra[0].box == sample.intra[1].box else ""
    _part(
        "A box and its jittered copy",
        f"One of the image's kept boxes, and the same box moved, enlarged and stretched at random: they overlap with"
        f" IoU {overlap:.2f}.{same} Both are resized to {size} pixels.",
        [(image, [view.box for view in sample.intra], ["1", "2"], COLORS)],
        [patches["intra1"], patches["intra2"]],
        sample.intra,
        losses and ("intra", losses),
    )
    _part(
        "Two corresponding boxes",
        _pair_text(run, sample),
        [(image, [sample.inter[0].box], ["1"], COLORS[:1]), (neighbor, [sample.inter[1].box], ["2"], COLORS[1:])],
        [patches["inter1"], patches["inter2"]],
        sample.inter,
        losses and ("inter", losses),
    )


@st.cache_resource(max_entries=2, show_spinner="Reading regions and pairs ...")
def _open(run_path: str, version: object) -> ObjectViews:
    run = Run(run_path)
    return replay.object_views(run, state.images(run))


def _samples(run: Run) -> ObjectViews:
    versions = [state.version(run.require(name)) for name in ("images", "regions", "pairs")]
    versions += [state.version(file) for file in [run.file("reviews"), run.file("selections")] if file.exists()]
    stored = run.path / "config.yaml"
    settings = run.stage("stage3").get("config") or (state.version(stored) if stored.exists() else None)
    return _open(str(run.path), (versions, repr(settings)))


# ---- which sample --------------------------------------------------------------------------------------------------


def _choose_epoch(samples: ObjectViews) -> int:
    """The epoch that is looked at, counted from 0."""
    epochs = samples.config.epochs
    epoch = st.number_input(
        f"Epoch, 1 to {epochs}",
        min_value=1,
        max_value=epochs,
        step=1,
        key="sample epoch",
        help="Another epoch draws another sample of the same image. The draw depends on the run's seed, the epoch and"
        " the image alone, so what you see is what stage 3 sees.",
        width=240,
    )
    return int(epoch) - 1


def _where(run: Run, samples: ObjectViews, epoch: int, row: int) -> None:
    image_id = int(samples.image_ids[row])
    step, batch = replay.step_of(samples, epoch, row)
    if step is not None:
        when = f"step {step + 1:,} sees it, in a batch of {len(batch)}"
    else:
        when = f"epoch {epoch + 1} leaves it out: {len(batch)} images do not fill a last batch"
    begun = "" if run.stage("stage3") else " Stage 3 has not begun: this is what it will see."
    name = state.plain(state.file_name(run, image_id))
    st.caption(f"Image {image_id}, {name}; seed {samples.seed}, epoch {epoch + 1}: {when}.{begun}", width="stretch")


def _pair_text(run: Run, sample: Sample) -> str:
    text = f"A box of the image, and the box of its neighbor, image {sample.neighbor_id}, that is paired with it"
    pairs = run.read("pairs", image_id=sample.image_id)
    pairs = pairs[pairs["neighbor_id"] == sample.neighbor_id]
    regions = state.table(run, "regions")
    boxes = [regions.iloc[pairs[name].to_numpy()][["x", "y", "w", "h"]].to_numpy() for name in _PAIR]
    same = np.all([(b == np.array(v.box)).all(axis=1) for b, v in zip(boxes, sample.inter, strict=True)], axis=0)
    if same.any():
        pair = pairs[same].iloc[0]
        text += (
            f": cosine {similarity_text(pair['similarity'])}, place {int(pair['rank']) + 1} of {len(pairs)} with the"
            f" neighbor of rank {int(pair['neighbor_rank']) + 1}"
        )
    return text + "."


_PAIR = ("query_region", "key_region")


# ---- the losses ----------------------------------------------------------------------------------------------------


@st.cache_data(max_entries=200, show_spinner="Computing the losses ...")
def _compute(run_path: str, epoch: int, row: int, version: object, _samples: ObjectViews) -> replay.Losses:
    return replay.current_losses(Run(run_path), _samples, epoch, row)


def _no_checkpoint(run: Run) -> str:
    stage = run.state("stage3")
    if stage.state == "imported":
        return "stage 3 was imported, which brings an encoder alone"
    if stage.state == "finished":
        return f"they are gone; `{typed('stage3', run.path, '--overwrite')}` trains anew"
    return f"stage 3 is {stage.sentence}"


def _losses(run: Run, samples: ObjectViews, epoch: int, row: int) -> replay.Losses | None:
    files = list(named_checkpoints(run.path / "stage3" / "checkpoints").values())
    if not files:
        st.info(
            state.sentence(f"There are no losses without a checkpoint: {_no_checkpoint(run)}."), icon=":material/info:"
        )
        return None
    wanted = st.toggle(
        "Compute the three losses of the current weights (takes seconds)",
        key="sample losses",
        help="Batch normalization in train mode needs several images: the loss of one image depends on its batch."
        " Computed over the batch that stage 3 sees the image in, or 32 images of it, on the processor.",
    )
    if not wanted:
        return None
    try:
        versions = [str(file) for file in files]
        found = _compute(str(run.path), epoch, row, versions, samples)
    except OrlError as error:
        st.warning(state.sentence(str(error)), icon=":material/info:")
        return None
    total = sum(found.image.values())
    st.caption(
        f"Weights after {found.step:,} steps, in a batch of {found.size} images, as batch normalization needs several:"
        f" image + intra + inter = {total:.3f}. A loss of 0 means that the views agree, 4 that they have nothing to do"
        " with one another, 8 is the worst. Another batch around the image changes them a little."
    )
    return found


# ---- pictures ------------------------------------------------------------------------------------------------------


def _part(
    title: str,
    text: str,
    originals: Sequence[tuple[Image.Image, Sequence[Any], Sequence[str], Sequence[str]]],
    patches: Sequence[Image.Image],
    parameters: Sequence[ViewParameters],
    losses: Any,
) -> None:
    """One of the three comparisons: boxes on the originals, the two patches that the networks get, and the loss."""
    with st.container(border=True):
        head, figure = st.columns([4, 1], vertical_alignment="center")
        head.subheader(title, anchor=False)
        head.caption(text)
        if losses:
            name, found = losses
            mean = f"mean over the batch {found.batch[name]:.3f}"
            figure.metric(f"loss, {name}", f"{found.image[name]:.3f}", help=mean)
            figure.caption(mean)
        columns = st.columns([2, 1, 1] if len(originals) == 1 else [3, 3, 2, 2], gap="medium")
        for column, (picture, boxes, labels, colors) in zip(columns, originals, strict=False):
            with column.container(key=f"whole original of {title}, {' and '.join(labels)}"):
                small = len(originals) > 1  # shown at half of its size, so with larger numbers
                marked = _marked(picture, boxes, labels, colors, font_size=30 if small else 18)
                st.image(marked, width="stretch", alt=f"original with box {' and '.join(labels)}")
        for number, (patch, parameter) in enumerate(zip(patches, parameters, strict=True)):
            with columns[len(originals) + number]:
                big = patch.resize((240, 240), Image.Resampling.NEAREST) if patch.width < 240 else patch
                st.image(_framed(big, COLORS[number]), width="stretch", alt=f"patch {number + 1}")
                st.caption(f"**{number + 1}** · " + ", ".join(describe(parameter)))


def _marked(
    picture: Image.Image, boxes: Sequence[Any], labels: Sequence[str], colors: Sequence[str], *, font_size: int
) -> Image.Image:
    scale = PICTURE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    large = picture.resize(size, Image.Resampling.LANCZOS)
    return drawing.draw_boxes(
        large, np.asarray(boxes, float) * scale, labels, colors, line=font_size // 5 + 1, font_size=font_size
    )


def _framed(picture: Image.Image, color: str) -> Image.Image:
    framed = Image.new("RGB", (picture.width + 8, picture.height + 8), color)
    framed.paste(picture, (4, 4))
    return framed


def describe(parameters: ViewParameters) -> list[str]:
    """What was done to a view, in the order applied."""
    steps = ["mirrored"] if parameters.flip else []
    steps += [
        f"{name} {factor:+.2f}" if name == "hue" else f"{name} {factor:.2f}" for name, factor in parameters.color_steps
    ]
    steps += ["gray"] if parameters.gray else []
    steps += [f"blur sigma {parameters.blur_sigma:.2f}"] if parameters.blur_sigma is not None else []
    steps += [f"solarized at {SOLARIZE_THRESHOLD}"] if parameters.solarize else []
    x, y, w, h = parameters.box
    return [f"{w} x {h} px at ({x}, {y})", *(steps or ["not distorted"])]
