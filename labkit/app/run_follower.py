"""Follows the records of runs for a live panel, and prepares its charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labkit.runs.store import RunInfo
from labkit.train.logger import Record
from labkit.viz import curves
from labkit.viz.figure import PALETTE, QUARTERS, Axis, Line, Plot, Rule
from labkit.viz.run_html import measure
from labkit.viz.series import Series, gather, pick
from labkit.viz.words import word

if TYPE_CHECKING:
    from labkit.runs.handle import RunHandle

#: Names of noisy series, which are smoothed; scores of the validation rows never are.
SMOOTHED = ("loss", "f1", "miou", "accuracy", "r2", "gradient_norm", "examples_per_second")
#: Scores of single classes that the full panel draws → word of their chart.
SINGLE = {"f1": "f1_each", "iou": "iou_each"}
#: What the full panel draws of a run beside loss and F1: (split, name), and what its values are multiplied
#: by.
MORE = {
    ("train", "learning_rate"): 1.0,
    ("train", "gradient_norm"): 1.0,
    ("train", "epsilon"): 1.0,
    ("machine", "examples_per_second"): 1.0,
    ("machine", "memory"): 2.0**-20,
}


class Tail:
    """The records of one run as they come.

    Args:
        run: the run.
        prefix: put before the keys of its series, to tell several runs apart.
        full: gather what the full panel draws, not only loss and F1.

    Attributes:
        seen: the last record that was read.
        latest: key → (step, value), the newest of everything, drawn or not.
    """

    def __init__(self, run: RunHandle, prefix: str = "", full: bool = False):
        self.run, self.prefix, self.full = run, prefix, full
        self.seen = 0
        self.latest: dict[str, tuple[int, float]] = {}

    def read(self, whole: bool) -> tuple[list[Record], bool]:
        """Everything, or what came since; and whether it is everything: it also is when the run went back."""
        records = self.run.store.records(self.run.id, 0 if whole else self.seen)
        if not whole and any(r.step < self.latest.get(f"{r.split}/{r.name}", (-1,))[0] for r in records):
            whole, records = True, self.run.store.records(self.run.id)  # resumed from an earlier checkpoint
        if whole:
            self.latest.clear()
        for record in records:
            self.latest[f"{record.split}/{record.name}"] = (record.step, record.value)
        self.seen = records[-1].seq if records else self.seen
        return records, whole

    def series(self, records: Sequence[Record]) -> Series:
        """The series of some records, under their keys."""
        found = gather(records)
        if self.full:
            found |= {key: (steps, [v * MORE[_pair(key)] for v in values]) for key, (steps, values)
                      in pick(records, MORE).items()}  # fmt: skip
            single = {
                (r.split, r.name) for r in records if r.name.startswith(tuple(f"{key}/" for key in SINGLE))
            }
            found |= pick(records, sorted(single))
        return {f"{self.prefix}{key}": points for key, points in found.items()}


def _pair(key: str) -> tuple[str, str]:
    split, _, name = key.partition("/")
    return split, name


def charts(
    info: RunInfo, language: str, full: bool, others: Sequence[tuple[str, str]] = ()
) -> list[dict[str, Any]]:
    """What ``live.js`` draws.

    Args:
        info: of the run.
        language: of the words.
        full: with learning rate, gradient, speed, memory and the F1 of single classes.
        others: (prefix, name) of overlaid runs; only their loss and F1 are drawn.
    """
    second = measure(info)
    empty: Series = {f"{split}/{name}": ([], []) for split in curves.SPLITS for name in ("loss", second)}
    runs = [curves.RunCurves(empty), *(curves.RunCurves(empty, f"{label} ·", 3 + number % 5, prefix)
                                   for number, (prefix, label) in enumerate(others))]  # fmt: skip
    loss, other = curves.plots(runs, second, language, rules=curves.baseline(info.summary, language))
    return [described(loss, log=True), described(other), *(_more(info, language) if full else [])]


def _more(info: RunInfo, language: str) -> list[dict[str, Any]]:
    titles = {"learning_rate": "learning_rate", "gradient_norm": "gradient_norm",
              "epsilon": "epsilon_spent", "examples_per_second": "throughput", "memory": "memory_mib"}  # fmt: skip
    private = bool(info.settings("train").get("privacy"))
    found = [
        described(Plot([Line((), (), key=f"{split}/{name}")], word(titles[name], language)),
                  log=name in ("gradient_norm", "learning_rate"), small=name != "epsilon")
        for split, name in MORE if private or name != "epsilon"
    ]  # fmt: skip
    classes = info.summary.get("classes") or []
    if len(classes) > 1:
        score, title = next(
            (
                (score, title)
                for score, title in SINGLE.items()
                if f"{score}/0" in info.summary.get("reported", ())
            ),
            ("f1", SINGLE["f1"]),
        )
        lines = [Line((), (), str(name), 1 + number, "dash" * (number >= len(PALETTE)),
                      key=f"validation/{score}/{number}") for number, name in enumerate(classes)]  # fmt: skip
        found.insert(0, described(Plot(lines, word(title, language), y=Axis(ticks=QUARTERS))))
    return found


def _is_noisy(key: str) -> bool:
    split, _, name = key.rpartition(":")[2].partition("/")
    return split != "validation" and name in SMOOTHED


def described(plot: Plot, log: bool = False, small: bool = False) -> dict[str, Any]:
    """A plot without points for ``live.js``; ``log``: whether its scale may be made logarithmic;
    ``small``: whether it is folded with the charts of the machine."""
    lines = [
        {
            "key": line.key,
            "label": line.label,
            "fill": 1 + (line.colour - 1) % len(PALETTE),
            "dashed": bool(line.dash),
            "smooth": _is_noisy(line.key),
        }
        for line in plot.marks
        if isinstance(line, Line)
    ]
    rules = [
        {"value": mark.y[0], "note": mark.note} for mark in plot.marks if isinstance(mark, Rule) and mark.y
    ]
    title = plot.title or plot.y.label
    return {
        "title": title, "lines": lines, "rules": rules, "range": plot.y.ticks == QUARTERS, "log": log, "small": small,
    }  # fmt: skip
