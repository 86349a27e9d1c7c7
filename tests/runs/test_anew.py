"""A stage with other settings or inputs than it was made with: refused in which words, with which command."""

from __future__ import annotations

import pytest

from orl_explore.errors import OrlError

CONFIG = {"epochs": 2, "views": {"scale": (0.1, 1.0), "flip": 0.5}}
INPUTS = {"images": "abc"}


@pytest.fixture
def made(run):
    """A run whose stage 1 is finished."""
    with run.working_on("stage1", config=CONFIG, seed=0, inputs=INPUTS):
        pass
    return run


@pytest.mark.parametrize("state", ["running", "failed", "finished"])
@pytest.mark.parametrize(
    ("config", "inputs", "what", "typed"),
    [
        ({**CONFIG, "epochs": 3}, INPUTS, "setting epochs", " --stage1.epochs 3"),
        ({**CONFIG, "views": {"scale": (0.2, 1.0), "flip": 0.5}}, INPUTS, "setting views.scale", ""),
        ({"epochs": 2}, INPUTS, "setting views", ""),
        ({**CONFIG, "new": 1}, INPUTS, "setting new", " --stage1.new 1"),
        ({**CONFIG, "seed": 1}, INPUTS, "setting seed", " --seed 1"),
        (CONFIG, {"images": "other"}, "images", ""),
        (CONFIG, {**INPUTS, "encoder": "x"}, "encoder", ""),
        (CONFIG, {}, "images", ""),
        ({**CONFIG, "epochs": 3}, {"images": "other"}, "images, setting epochs", " --stage1.epochs 3"),
    ],
)
def test_what_changed_is_refused(made, state, config, inputs, what, typed):
    made.note("stage1", state=state)
    with pytest.raises(OrlError) as error:
        made.check("stage1", config=config, inputs=inputs)
    ended = "; the learning rate has come to its end after 2 epochs, so that 3 are another training"
    assert str(error.value) == (
        f"stage1 of {made.path} was made with other {what}: `orl stage1 {made.path} --overwrite{typed}` makes it anew"
        f"{ended if state == 'finished' and 'epochs' in what else ''}"
    )


def test_many_changes_are_not_all_listed(made):
    with pytest.raises(OrlError, match=r"setting a, setting b, setting c \.\.\.: "):
        made.check("stage1", config={**CONFIG, **dict.fromkeys("abcdef", 1), "epochs": 3}, inputs=INPUTS)
