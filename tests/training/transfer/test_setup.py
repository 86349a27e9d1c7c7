"""What every protocol is given: parts with folders of their own, and a fingerprint that any change changes."""

from __future__ import annotations

import pytest

from training.transfer.setup import fingerprint


def test_a_part_has_a_title_and_a_folder_of_its_own(setup):
    part = setup.named("1percent").named("res5")
    assert part.title == "test 1percent res5"
    assert part.folder == setup.folder / "1percent" / "res5"
    assert (part.run, part.config, part.data, part.seed) == (setup.run, setup.config, setup.data, setup.config.seed)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([12], [1, 2]),  # joined, they are the same digits
        (["ab"], ["a", "b"]),
        ([["a"], "b"], [["a", "b"]]),
        ([1], ["1"]),
        ([1, 2], [2, 1]),
        ([], [None]),
    ],
)
def test_a_fingerprint_tells_values_apart(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(list(one))
    assert len(fingerprint(one)) == 32
