"""Loading report: rejections, repairs and counts by row number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from labkit.core.text import visible
from labkit.i18n import plain, revive

if TYPE_CHECKING:
    import pandas as pd

ACTIONS = ("refused", "repaired", "counted")
CAP = 10_000  # notes kept for one reason; the counts stay exact beyond it


@dataclass(frozen=True)
class Note:
    """One thing done to one row (``row`` None: to the source as a whole)."""

    row: int | None
    column: str | None
    action: str  # one of ACTIONS
    reason: str
    detail: str = ""
    split: str | None = None


def _note(values: dict[str, Any]) -> Note:
    """A note as a file holds it, its types checked."""
    note = Note(**values)
    texts = isinstance(note.reason, str) and isinstance(note.detail, str)
    texts = texts and isinstance(note.column, str | None) and isinstance(note.split, str | None)
    if not texts or not (note.row is None or (type(note.row) is int and abs(note.row) < 1 << 63)):
        raise ValueError(f"the note {values!r:.200} of the report has another type")
    return note


class Report:
    """The notes of a table, in order; at most ``CAP`` for each reason, with exact counts."""

    def __init__(self, notes: Iterable[Note] = ()):
        self.notes: list[Note] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._kept: Counter[tuple[str, str]] = Counter()
        for note in notes:
            self._enter(note)

    def add(
        self,
        action: str,
        reason: str,
        rows: Iterable[int | None] = (None,),
        *,
        column: str | None = None,
        detail: str | Sequence[str] = "",
        split: str | None = None,
    ) -> None:
        """Note ``reason`` for each of ``rows``; ``detail`` is one text for all or one for each row."""
        for index, row in enumerate(rows):
            key = (action, reason)
            if self._kept[key] >= CAP:
                self._counts[key] += 1
                continue
            text = detail if isinstance(detail, str) else detail[index]
            self._enter(Note(None if row is None else int(row), column, action, reason, text, split))

    def _enter(self, note: Note) -> None:
        if note.action not in ACTIONS:
            raise ValueError(f"action {note.action!r} is not one of {', '.join(ACTIONS)}.")
        key = (note.action, note.reason)
        self._counts[key] += 1
        if self._kept[key] < CAP:
            self._kept[key] += 1
            self.notes.append(note)

    def merge(self, other: Report | Iterable[Note]) -> Report:
        """A new report: these notes, then those of ``other``."""
        other = other if isinstance(other, Report) else Report(other)
        merged = Report(self.notes)
        for note in other.notes:
            merged._enter(note)
        merged._counts = self._counts + other._counts
        return merged

    def moved(self, start: int, split: str | None) -> Report:
        """The same notes with ``start`` added to each row number and the split named."""
        moved = Report(
            replace(note, row=None if note.row is None else note.row + start, split=note.split or split)
            for note in self.notes
        )
        moved._counts = Counter(self._counts)
        return moved

    def counts(self) -> dict[str, dict[str, int]]:
        """Action → reason → how often; only what happened is listed."""
        return {
            action: {reason: count for (done, reason), count in self._counts.items() if done == action}
            for action in ACTIONS
            if any(done == action for done, _ in self._counts)
        }

    def of(self, action: str) -> dict[str, list[Note]]:
        """Reason → the notes of one action that are kept."""
        found: dict[str, list[Note]] = {}
        for note in self.notes:
            if note.action == action:
                found.setdefault(note.reason, []).append(note)
        return found

    def to_pandas(self) -> pd.DataFrame:
        """A line for each note: row (Int64), split, column, action, reason, detail, with hidden characters
        visible."""
        import pandas as pd

        lines = [
            {name: visible(v) if isinstance(v, str) else v for name, v in asdict(n).items()}
            for n in self.notes
        ]
        frame = pd.DataFrame(lines, columns=["row", "split", "column", "action", "reason", "detail"])
        return frame.astype({"row": "Int64"})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; :meth:`from_dict` reads them."""
        notes, counts = [asdict(note) for note in self.notes], [[*key, n] for key, n in self._counts.items()]
        return plain({"notes": notes, "counts": counts})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """A report as a file holds it. Raises ValueError, TypeError or KeyError for a damaged one."""
        values = revive(values)
        report = cls(_note(note) for note in values["notes"])
        for action, reason, count in values["counts"]:
            if action not in ACTIONS or not isinstance(reason, str) or type(count) is not int or count < 0:
                raise ValueError(f"the count {[action, reason, count]!r:.200} of the report has another type")
            report._counts[action, reason] = count
        return report

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Report) and self.notes == other.notes and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        """How many things were noted, capped ones included."""
        return self._counts.total()

    def __repr__(self) -> str:
        lines = [
            f"  {action}: " + ", ".join(f"{visible(reason)} {count:,}" for reason, count in reasons.items())
            for action, reasons in self.counts().items()
        ]
        return "\n".join(["Report:", *lines]) if lines else "Report: nothing refused, repaired or counted"
