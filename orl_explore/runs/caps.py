"""What stage 2 leaves out for the sake of speed, in sentences for the terminal and the dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orl_explore.settings import Stage2Settings

PAPER = Stage2Settings()


def caps(stage2: Mapping[str, Any]) -> list[str]:
    """Say what is capped; nothing with the paper's settings.

    Args:
        stage2: its settings by name, as a run's record has them; what is missing counts as the paper's.
    """
    found = []
    if side := stage2.get("max_side"):
        found.append(
            f"Boxes are searched in pictures scaled down to {side} px on the longer side: small things are missed."
        )
    if (boxes := stage2.get("max_boxes", PAPER.max_boxes)) < PAPER.max_boxes:
        found.append(f"At most {boxes} boxes of a picture are kept; the paper keeps {PAPER.max_boxes}.")
    if (near := stage2.get("neighbors", PAPER.neighbors)) < PAPER.neighbors:
        found.append(f"A picture has {near} neighbors; the paper takes {PAPER.neighbors}, of 118,000 pictures.")
    if size := stage2.get("encoder_size"):
        found.append(f"The encoder sees pictures and boxes at {size} px, whatever it was trained at.")
    return found
