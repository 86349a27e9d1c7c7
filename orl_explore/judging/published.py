"""What others measured and published, and where it stands."""

from __future__ import annotations

from typing import Final

import pandas as pd

PAPER: Final = "Xie et al., NeurIPS 2021, arXiv 2106.11952, section 4"
MMSELFSUP: Final = "MMSelfSup, configs/selfsup/orl/README.md at commit ef31f91"

PUBLISHED: Final = (
    ("VOC07, linear SVM", "mAP on test", "pooled features, one SVM per class", "", PAPER),
    ("VOC07, low-shot SVM", "mAP on test", "1 to 96 positives per class, 5 draws", "", PAPER),
    *(
        ("VOC07, low-shot SVM", "mAP on test", f"ORL, COCO, 800 epochs, res5; k = {k}, 5 draws", value, MMSELFSUP)
        for k, value in ((1, "42.25"), (8, "72.16"), (96, "84.59"))
    ),
    ("ImageNet, Places205, iNaturalist18", "top-1 accuracy", "linear classifier on the frozen backbone", "", PAPER),
    ("ImageNet with 1% and 10% of the labels", "accuracy", "fine-tuned for 20 epochs", "", PAPER),
    ("COCO detection and segmentation", "AP of boxes and masks", "Mask R-CNN R50-FPN, fine-tuned", "", PAPER),
)
"""What others measured, how, the value in percent, and where it stands; blank: there, but not looked up."""


def published_table() -> pd.DataFrame:
    """What others published and where: benchmark, measure, setting, value in percent, source.

    Values that were not looked up in their source are blank.
    """
    return pd.DataFrame(PUBLISHED, columns=["benchmark", "measure", "setting", "percent", "source"])
