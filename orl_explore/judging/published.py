"""What others measured and published, and where it stands."""

from __future__ import annotations

from typing import Final

import pandas as pd

PAPER: Final = "Xie et al., NeurIPS 2021, arXiv 2106.11952, section 4"
MMSELFSUP: Final = "MMSelfSup, configs/selfsup/orl/README.md at commit ef31f91: on the ORL authors' published weights"
SLOTCON: Final = "SlotCon (arXiv 2205.15288), README.md at commit 23e4d32"
DENSECL: Final = "DenseCL (arXiv 2011.09157), README.md at commit 1706b5b"
SLOTCON_PAPER: Final = "SlotCon (arXiv 2205.15288), its table of segmentation"
PIXPRO: Final = "PixPro (arXiv 2011.10043), abstract"
HUMMINGBIRD: Final = (
    "Open Hummingbird Evaluation, README.md at commit 0081bfe: its own reimplementation of Balazevic et al. (arXiv"
    " 2306.01667)"
)
UNIVIP: Final = "UniVIP (arXiv 2203.06965), its table of linear classification: as measured there"
MLS: Final = "MLS (arXiv 2308.03286), Table 1: as measured there"

LINEAR: Final = "linear classifier on the frozen backbone"
FCN: Final = "FCN, fine-tuned"
MASK_RCNN: Final = "Mask R-CNN R50-FPN, fine-tuned"

PUBLISHED: Final = (
    ("VOC07, linear SVM", "mAP on test", "one SVM per class on the last stage's map", "", PAPER),
    ("VOC07, low-shot SVM", "mAP on test", "1 to 96 positives per class, 5 draws", "", PAPER),
    *(
        ("VOC07, low-shot SVM", "mAP on test", f"ORL, COCO, 800 epochs, res5; k = {k}, 5 draws", value, MMSELFSUP)
        for k, value in ((1, "42.25"), (8, "72.16"), (96, "84.59"))
    ),
    ("ImageNet, Places205, iNaturalist18", "top-1 accuracy", LINEAR, "", PAPER),
    *(
        ("ImageNet", "top-1 accuracy", f"{method}; {LINEAR}", value, UNIVIP)
        for method, value in (
            ("BYOL, COCO", "57.8"),
            ("ORL, COCO", "59.0"),
            ("BYOL, COCO+", "59.6"),
            ("ORL, COCO+", "60.7"),
        )
    ),
    ("ImageNet with 1% and 10% of the labels", "accuracy", "fine-tuned for 20 epochs", "", PAPER),
    ("COCO detection and segmentation", "AP of boxes and masks", MASK_RCNN, "", PAPER),
    *(
        ("COCO detection and segmentation", "AP of boxes, masks", f"{method}; {MASK_RCNN}", value, source)
        for method, value, source in (
            ("BYOL, COCO", "38.8, 35.0", MLS),
            ("ORL, COCO", "40.3, 36.3", MLS),
            ("SlotCon, COCO, 800 epochs", "41.0, 37.0", SLOTCON),
            ("SlotCon, COCO+, 800 epochs", "41.8, 37.8", SLOTCON),
        )
    ),
    *(
        ("VOC detection", "AP of boxes", f"{method}; fine-tuned", value, DENSECL)
        for method, value in (
            ("MoCo-v2, COCO, 800 epochs", "54.7"),
            ("DenseCL, COCO, 800 epochs", "56.7"),
            ("DenseCL, COCO, 1600 epochs", "57.2"),
            ("supervised, ImageNet", "54.2"),
        )
    ),
    *(
        ("VOC segmentation", "mean IoU", f"{method}; {FCN}", value, DENSECL)
        for method, value in (
            ("MoCo-v2, COCO, 800 epochs", "64.5"),
            ("DenseCL, COCO, 800 epochs", "67.5"),
            ("DenseCL, COCO, 1600 epochs", "68.0"),
            ("supervised, ImageNet", "67.7"),
        )
    ),
    ("VOC, Cityscapes, ADE20K segmentation", "mean IoU", f"SlotCon and others, COCO; {FCN}", "", SLOTCON_PAPER),
    ("Cityscapes segmentation", "mean IoU", f"PixPro, ImageNet; {FCN}", "77.2", PIXPRO),
    *(
        ("VOC segmentation in context", "mean IoU", f"{encoder}; {memory} patches remembered", value, HUMMINGBIRD)
        for encoder, memory, value in (
            ("DINO ViT-S/16", "102,400", "37.2"),
            ("DINO ViT-S/16", "10,240,000", "46.6"),
            ("DINO ViT-B/16", "10,240,000", "55.7"),
            ("DINOv2 ViT-B/14", "10,240,000", "76.9"),
        )
    ),
)
"""What others measured, how, the value in percent, and where it stands; blank: there, but not looked up."""


def published_table() -> pd.DataFrame:
    """What others published and where: benchmark, measure, setting, value in percent, source.

    Values that were not looked up in their source are blank.
    """
    return pd.DataFrame(PUBLISHED, columns=["benchmark", "measure", "setting", "percent", "source"])
