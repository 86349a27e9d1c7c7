"""The table of protocols: what `orl evaluate RUN --protocol NAME` can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from training.transfer import detection, in_context, knn, linear, retrieval, segmentation, semi, svm


@dataclass(frozen=True)
class Protocol:
    """A way to judge encoders.

    Attributes:
        settings: frozen dataclass; its defaults are those of the literature, and each can be set on the command line
            as `--NAME.FIELD`. A field `image_size` of None stands for the size that the run was trained with.
        read: (setup, settings) -> data (see `setup.Data`); called once, before any encoder is judged. Raises OrlError
            for data that are missing or malformed.
        judge: (encoder, data, settings, setup) -> figures, JSON values by name; called once per encoder. Beside them
            `items`, what `intervals` needs to know of the test items of figures, by name of the figure.
        score: the figure that encoders are compared by; `SCORE_chance`, if there is one, stands beside it.
        title: what the table of results calls the score; a setting in braces stands for its value.
        enlarged: images are this times as large as the run was trained with, where `image_size` is None.
        distributed: trains with Lightning, on all devices; the others work in the first process alone.
    """

    settings: type
    read: Callable[..., Any]
    judge: Callable[..., dict[str, Any]]
    score: str
    title: str
    enlarged: float = 1.0
    distributed: bool = False


PROTOCOLS: Final[dict[str, Protocol]] = {
    "voc07": Protocol(svm.VocSettings, svm.read, svm.judge, "map", "VOC07 linear SVM ({feature}), mAP"),
    "voc07-lowshot": Protocol(
        svm.LowShotSettings,
        svm.read_lowshot,
        svm.judge_lowshot,
        "map",
        "VOC07 low-shot SVM ({feature}), mAP at the largest k",
    ),
    "knn": Protocol(knn.KnnSettings, knn.read, knn.judge, "accuracy", "kNN, accuracy"),
    "linear": Protocol(
        linear.LinearSettings,
        linear.read,
        linear.judge,
        "top1",
        "linear classification ({layers}), top-1",
        distributed=True,
    ),
    "semi": Protocol(semi.SemiSettings, semi.read, semi.judge, "top1", "semi-supervised, top-1", distributed=True),
    "retrieval": Protocol(retrieval.RetrievalSettings, retrieval.read, retrieval.judge, "map", "object retrieval, mAP"),
    "in-context": Protocol(
        in_context.InContextSettings,
        in_context.read,
        in_context.judge,
        "miou",
        "in-context segmentation, mIoU",
        enlarged=in_context.ENLARGED,
    ),
    "segmentation": Protocol(
        segmentation.SegmentationSettings,
        segmentation.read,
        segmentation.judge,
        "miou",
        "FCN ({preset}, backbone {backbone}), mIoU",
        distributed=True,
    ),
    "detection": Protocol(
        detection.DetectionSettings, detection.read, detection.judge, "box_ap", "Mask R-CNN, box AP", distributed=True
    ),
}
"""In the order in which the table of results shows them."""
