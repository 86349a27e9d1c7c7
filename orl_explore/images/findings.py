"""What became of everything that the sources of an image set named: used, or counted by reason with one example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orl_explore.images.image_source import printable, shown


@dataclass(frozen=True)
class Count:
    """How many annotations met with something, and one of them."""

    what: str
    """As it stands behind "annotations": `marked iscrowd`."""
    count: int
    example: str


@dataclass
class Tally:
    """Counts by reason, in the order in which they turn up."""

    counts: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, what: str, example: str, count: int = 1) -> None:
        """Count one, or several at once; the first one is the example."""
        self.counts.setdefault(what, [0, example])[0] += count

    def result(self) -> tuple[Count, ...]:
        """The counts, most frequent first."""
        ordered = sorted(self.counts.items(), key=lambda item: -item[1][0])
        return tuple(Count(what, count, printable(example)) for what, (count, example) in ordered)


@dataclass(frozen=True)
class Findings:
    """What opening an image set found: `given` = `used` + all that is `left_out`."""

    given: int = 0
    """Annotations in the files."""
    used: int = 0
    """Of them, those that became objects."""
    left_out: tuple[Count, ...] = ()
    """Those that did not, by reason."""
    changed: tuple[Count, ...] = ()
    """Of the used ones, those that were not taken as they stand."""
    notes: tuple[str, ...] = ()
    """Sentences about names, sizes and pixels."""

    def lines(self) -> list[str]:
        """What a person should read, a line each; none where there is nothing to say."""
        things = "object" if self.used == 1 else "objects", "annotation" if self.given == 1 else "annotations"
        lines = [f"{self.used:,} {things[0]} of {self.given:,} {things[1]}"] if self.given else []
        for title, counts in (("left out", self.left_out), ("used", self.changed)):
            for one in counts:
                noun = "annotation" if one.count == 1 else "annotations"
                lines.append(f"  {title}: {one.count:,} {noun} {one.what}, such as {one.example}")
        return [shown(line) for line in (*lines, *(f"note: {note}" for note in self.notes))]

    def as_dict(self) -> dict[str, Any]:
        """As run.json keeps it: `annotations` and `notes`."""
        annotations = {
            "given": self.given,
            "used": self.used,
            **{name: [vars(one) for one in getattr(self, name)] for name in ("left_out", "changed")},
        }
        return {"annotations": annotations, "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Findings:
        """Read it back; of runs that were begun before it was kept, nothing is known."""
        annotations = record.get("annotations") or {}
        left_out, changed = (
            tuple(Count(**one) for one in annotations.get(name, ())) for name in ("left_out", "changed")
        )
        given, used = annotations.get("given", 0), annotations.get("used", 0)
        return cls(given, used, left_out, changed, tuple(record.get("notes") or ()))
