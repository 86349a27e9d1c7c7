"""The masks that came with imported boxes, of the proposals of an image and of regions."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orl_explore.boxes import is_kept
from orl_explore.errors import OrlError, typed
from orl_explore.images.grouping import Slices
from orl_explore.runs.reading import read_ids, read_rows
from orl_explore.runs.run import Run


def has_masks(run: Run) -> bool:
    """Whether boxes with masks were imported into a run."""
    return run.file("masks").exists()


class RegionMasks:
    """Finds the masks of regions, image by image; a few numbers an image are in memory.

    Args:
        run: a run with proposals and masks.

    Raises:
        OrlError: no masks were imported.
    """

    def __init__(self, run: Run):
        if not has_masks(run):
            raise OrlError(
                f"the boxes of {run.path} have no masks, so nothing can be faded: import some that do, with"
                f" `{typed('import', run.path, 'FILE')}`, or leave stage2.mask_outside at 0"
            )
        self._run = run
        self._proposals, self._masks = (Slices(read_ids(run.file(name))) for name in ("proposals", "masks"))

    def of(self, image_ids: NDArray[np.int64]) -> list[str | None]:
        """`counts` of each region of some images (compressed COCO RLE, at the image's size); None where it has none.

        Args:
            image_ids: in the order of the images table, next to each other, so that the regions are, too.
        """
        proposals = read_rows(self._run.file("proposals"), *self._proposals.span(image_ids))
        masks = read_rows(self._run.file("masks"), *self._masks.span(image_ids))
        kept = proposals.loc[is_kept(proposals["reason"]), ["image_id", "rank"]]
        found = kept.merge(masks, on=["image_id", "rank"], how="left", validate="one_to_one")["segmentation"]
        return [counts if isinstance(counts, str) else None for counts in found]

    def of_regions(self, region_ids: NDArray[np.int64], image_ids: NDArray[np.int64]) -> list[str | None]:
        """`counts` of some regions, as `of` gives them.

        Args:
            region_ids: in any order.
            image_ids: images that have all of them, in the order of the images table, next to each other.
        """
        first, _ = self._regions.span(image_ids)
        found = self.of(image_ids)
        return [found[region - first] for region in region_ids.tolist()]

    @cached_property
    def _regions(self) -> Slices:
        return Slices(read_ids(self._run.file("regions")))


def masks_of_image(run: Run, image_id: int) -> pd.Series:
    """The masks of an image's proposals: counts by rank."""
    found = run.read("masks", image_id=image_id)
    return pd.Series(found["segmentation"].to_numpy(object), index=found["rank"].to_numpy(), dtype=object)
