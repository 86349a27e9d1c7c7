"""Why stage 2 accepted a pair of boxes or not, in words, and what each of its switches would do to it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orl_explore.numbers import similarity_text
from orl_explore.pairs import choose_pairs


@dataclass(frozen=True)
class Rule:
    """How stage 2 chooses among the similarities of an image with one neighbor; the defaults are the paper's.

    Attributes:
        ratio: pairs per box of the image.
        mutual: only boxes that are each other's most similar one.
        one_to_one: a box is in one pair at most.
        min_similarity: only pairs at least this similar; None: any.
        neighbors: how many neighbors an image has; None: as many as it has.
    """

    ratio: float = 0.1
    mutual: bool = False
    one_to_one: bool = False
    min_similarity: float | None = None
    neighbors: int | None = None

    def kept(self, boxes: int) -> int:
        """Pairs that are kept at most, of an image with so many boxes."""
        return max(1, int(self.ratio * boxes))

    def pairing(self) -> dict[str, Any]:
        """As `pair_images` and `choose_pairs` take it."""
        found = dataclasses.asdict(self)
        del found["neighbors"]
        return found


@dataclass(frozen=True)
class Verdict:
    """What a rule makes of one pair of boxes.

    Attributes:
        accepted: whether it is a pair.
        reason: why, as a sentence without its first capital letter and its full stop.
        place: of its similarity among all, from 1; equal ones in the order of the matrix.
        rank: among what the switches leave to choose the best of, from 1; None: they do not leave it.
    """

    accepted: bool
    reason: str
    place: int
    rank: int | None = None


@dataclass(frozen=True)
class Switch:
    """What one change of the rule does to a pair.

    Attributes:
        name: what is changed, in words.
        effect: a sentence.
        changes: whether the pair comes or goes by it.
        rule: the rule with this change; None: no setting of this switch changes anything.
    """

    name: str
    effect: str
    changes: bool
    rule: Rule | None


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ..., with commas for thousands."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def judge(similarity: NDArray[np.float32], row: int, column: int, rule: Rule, *, neighbor_rank: int = 0) -> Verdict:
    """Say why a rule accepts a pair of boxes, or why it does not.

    Args:
        similarity: (Q, R) of the boxes of an image with those of a neighbor.
        row: of the image's box.
        column: of the neighbor's box.
        rule: of stage 2.
        neighbor_rank: of the neighbor, from 0.
    """
    value, boxes = float(similarity[row, column]), len(similarity)
    flat = row * similarity.shape[1] + column
    place = 1 + int((similarity > value).sum()) + int((similarity.ravel()[:flat] == value).sum())
    if rule.neighbors is not None and neighbor_rank >= rule.neighbors:
        searched = "one neighbor is" if rule.neighbors == 1 else f"{rule.neighbors} neighbors are"
        return Verdict(False, f"only {searched} searched, and this is the {ordinal(neighbor_rank + 1)}", place)
    # All that the switches leave, best first: the ratio only cuts this list.
    everything = dataclasses.replace(rule, ratio=float(similarity.shape[1]))
    queries, keys, values = choose_pairs(similarity, **everything.pairing())
    found = np.flatnonzero((queries == row) & (keys == column))
    if not len(found):
        return Verdict(False, _obstacle(similarity, row, column, rule, (queries, keys, values)), place)
    rank, keep = int(found[0]) + 1, rule.kept(boxes)
    words = [f"the {ordinal(place)} of {similarity.size:,} similarities"]
    if len(values) < similarity.size:
        words[0] += f", and the {ordinal(rank)} of the {len(values):,} that the switches leave"
    which = "the best one is kept" if keep == 1 else f"the best {keep} are kept"
    share = f"{_percent(rule.ratio)} of {boxes} {'box' if boxes == 1 else 'boxes'}"
    words.append(f"{which}, {share}" if rule.ratio * boxes >= 1 else f"{which}, as {share} is less than one")
    if rank > keep:
        words.append(f"the {ordinal(keep)} had {similarity_text(values[keep - 1])}, this one {similarity_text(value)}")
    elif len(values) > keep:
        words.append(f"the {ordinal(keep + 1)} had {similarity_text(values[keep])}")
    return Verdict(rank <= keep, "; ".join(words), place, rank)


def switches(
    similarity: NDArray[np.float32], row: int, column: int, rule: Rule, *, neighbor_rank: int, neighbors: int
) -> list[Switch]:
    """What each switch of stage 2 would do to one pair of boxes, the others as they are.

    Args:
        similarity: (Q, R) of the boxes of an image with those of a neighbor.
        row: of the image's box.
        column: of the neighbor's box.
        rule: the run's.
        neighbor_rank: of the neighbor, from 0.
        neighbors: how many the image has.

    Returns:
        One each for the number of neighbors, the pairs per box, the least similarity, `mutual` and `one_to_one`.
    """

    def tried(**change: Any) -> tuple[Rule, Verdict]:
        other = dataclasses.replace(rule, **change)
        return other, judge(similarity, row, column, other, neighbor_rank=neighbor_rank)

    now = judge(similarity, row, column, rule, neighbor_rank=neighbor_rank)
    value = float(similarity[row, column])
    made = [
        _neighbors_switch(now, rule, neighbor_rank, neighbors),
        _ratio_switch(now, rule, len(similarity)),
        _least_switch(now, rule, value, tried(min_similarity=None)[1]),
    ]
    for name, words in (("mutual", "mutual best"), ("one_to_one", "one to one")):
        other, then = tried(**{name: not getattr(rule, name)})
        turned = f"turned {'off' if getattr(rule, name) else 'on'}"
        if then.accepted == now.accepted:
            stays = "the pair stays" if now.accepted else "the pair is still not accepted"
            made.append(Switch(words, f"{turned}, {stays}: {then.reason}", False, other))
        else:
            turns = "gained" if then.accepted else "lost"
            made.append(Switch(words, f"{turned}, the pair is {turns}: {then.reason}", True, other))
    return made


def _neighbors_switch(now: Verdict, rule: Rule, neighbor_rank: int, neighbors: int) -> Switch:
    name = "neighbors"
    if not neighbor_rank:
        return Switch(name, f"any number, 1 to {neighbors}, gives the same: this is the nearest", False, None)
    this = f"this is the {ordinal(neighbor_rank + 1)}"
    if not now.accepted:
        return Switch(name, f"no number of them brings the pair: {this}, and its pairs are its own", False, None)
    other = dataclasses.replace(rule, neighbors=neighbor_rank)
    return Switch(name, f"with {neighbor_rank} or fewer the pair is lost, as {this}", True, other)


def _ratio_switch(now: Verdict, rule: Rule, boxes: int) -> Switch:
    name = "pairs per box"
    enough = [
        step / 100
        for step in range(1, 101)
        if now.rank is not None and dataclasses.replace(rule, ratio=step / 100).kept(boxes) >= now.rank
    ]
    if not enough:
        return Switch(name, "no number brings the pair, not even one for each box", False, None)
    if not now.accepted:
        other = dataclasses.replace(rule, ratio=enough[0])
        effect = f"from {enough[0]:.2f} on the pair is gained: then the best {other.kept(boxes)} are kept"
        return Switch(name, effect, True, other)
    if enough[0] <= 0.01:
        return Switch(name, "the pair stays with any number: it is the best one", False, None)
    less = dataclasses.replace(rule, ratio=round(enough[0] - 0.01, 2))
    return Switch(name, f"down to {enough[0]:.2f} the pair stays, with less it is lost", True, less)


def _least_switch(now: Verdict, rule: Rule, value: float, without: Verdict) -> Switch:
    name = "similarity at least"
    # Similarities and bounds are compared in float32.
    step = round(value * 100)
    below = (step if np.float32(step / 100) <= np.float32(value) else step - 1) / 100
    if now.accepted and below >= 1:
        return Switch(name, "the pair stays at any bound: nothing is more similar", False, None)
    if now.accepted:
        above = round(below + 0.01, 2)
        effect = f"up to {below:.2f} the pair stays, from {above:.2f} on it is lost"
        return Switch(name, effect, True, dataclasses.replace(rule, min_similarity=above))
    if without.accepted:
        effect = f"at {below:.2f} or less the pair is gained"
        return Switch(name, effect, True, dataclasses.replace(rule, min_similarity=below))
    return Switch(name, "no bound brings the pair: a bound only takes pairs away", False, None)


def _obstacle(
    similarity: NDArray[np.float32], row: int, column: int, rule: Rule, left: tuple[NDArray, NDArray, NDArray]
) -> str:
    """Which switch keeps a pair out, in words.

    Args:
        similarity: (Q, R).
        row: of the image's box.
        column: of the neighbor's box.
        rule: that keeps it out.
        left: the rows, columns and similarities that it leaves.
    """
    value = similarity[row, column]
    if rule.min_similarity is not None and value < rule.min_similarity:
        least = similarity_text(rule.min_similarity)
        return f"its similarity is {similarity_text(value)}, and {least} is the least that is accepted"
    key, query = int(similarity[row].argmax()), int(similarity[:, column].argmax())
    if rule.mutual and key != column:
        return (
            f"only mutual best boxes are paired, and the neighbor's box {key + 1} is more similar to the image's:"
            f" {similarity_text(similarity[row, key])} against {similarity_text(value)}"
        )
    if rule.mutual and query != row:
        return (
            f"only mutual best boxes are paired, and the image's box {query + 1} is more similar to the neighbor's:"
            f" {similarity_text(similarity[query, column])} against {similarity_text(value)}"
        )
    queries, keys, values = left
    taken = np.flatnonzero((queries == row) | (keys == column))[0]
    whose = "the image's box" if queries[taken] == row else "the neighbor's box"
    better = f"{similarity_text(values[taken])} against {similarity_text(value)}"
    return f"a box is in one pair only, and {whose} is in a better one: {better}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
