"""Train, validation and test: carved by content, stratified or by groups, and checked for leakage.

Which split a row goes to depends on its content and the seed only, not on the order of the table. Rows with equal texts
always go the same way, so that splitting does not leak.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from labkit.base.config import Config, option
from labkit.base.errors import ConfigError, DataError, nearest
from labkit.data.duplicates import conflicts, dedupe, exact_duplicates, near_duplicates, table
from labkit.data.report import Note
from labkit.data.rows import Rows, column

__all__ = [
    "Leakage",
    "SplitLeakage",
    "check_leakage",
    "conflicts",
    "dedupe",
    "exact_duplicates",
    "leakage",
    "near_duplicates",
    "split",
]

# --- leakage -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SplitLeakage(Config):
    """How much of one split is also in the training split.

    Attributes:
        split: name of the split.
        rows: its rows.
        leaked: those of them whose normalised text is in train too.
        examples: row numbers of the first five, each as (row in this split, row in train).
    """

    split: str
    rows: int
    leaked: int
    examples: tuple[tuple[int, int], ...] = ()

    @property
    def share(self) -> float:
        """Leaked rows per row, 0 to 1."""
        return self.leaked / max(self.rows, 1)

    def __str__(self) -> str:
        text = f"{self.leaked:,} of {self.rows:,} rows of {self.split} ({100 * self.share:.1f} %) are also in train"
        shown = ", ".join(f"{row} = {train}" for row, train in self.examples)
        return f"{text} (row = row in train: {shown})" if shown else text


@dataclass(frozen=True)
class Leakage(Config):
    """Exact leakage from the training split into each other split."""

    splits: tuple[SplitLeakage, ...] = option((), "one entry for each split that is not train")

    @property
    def share(self) -> float:
        """The share of the split that leaks most, 0 to 1."""
        return max((part.share for part in self.splits), default=0.0)

    def __str__(self) -> str:
        return "; ".join(map(str, self.splits)) or "no split to evaluate on"

    def to_pandas(self) -> pd.DataFrame:
        """A line for each split: split, rows, leaked, share."""
        lines = [(part.split, part.rows, part.leaked, part.share) for part in self.splits]
        return pd.DataFrame(lines, columns=["split", "rows", "leaked", "share"])


def leakage(rows: Rows) -> Leakage:
    """Count the rows of each other split whose text (normalised as for exact duplicates) is in train too."""
    copies = table(rows).sort_values("row", kind="stable")
    train = copies[copies["split"] == "train"].drop_duplicates("key").set_index("key")["row"]
    parts = []
    for name, dataset in rows.splits.items():
        if name == "train":
            continue
        mine = copies[copies["split"] == name]
        leaked = mine[mine["key"].isin(train.index)]
        first = leaked.head(5)
        examples = zip(first["row"].tolist(), train.loc[first["key"]].tolist(), strict=True)
        parts.append(SplitLeakage(name, len(dataset), len(leaked), tuple(examples)))
    return Leakage(tuple(parts))


def check_leakage(rows: Rows, limit: float = 0.01, accept: bool = False) -> Leakage:
    """Raise :class:`DataError` when more than ``limit`` of a split is also in train, unless ``accept``."""
    found = leakage(rows)
    if found.share > limit and not accept:
        bad = "; ".join(str(part) for part in found.splits if part.share > limit)
        raise DataError(
            f"{bad}. Up to {100 * limit:g} % is let pass. Remove the copies from train with `rows.dedupe()`, "
            "or go on with accept_leakage=True and read the scores with that in mind."
        )
    return found


# --- splitting ---------------------------------------------------------------------------------------------------

_EVALUATION = ("test", "validation")  # a class of two rows shows itself in test before validation


def split(
    rows: Rows,
    validation: float = 0.1,
    test: float = 0.1,
    stratify: bool = True,
    group: str | None = None,
    seed: int = 0,
    accept_leakage: bool = False,
) -> Rows:
    """Carve validation and test out of train.

    A validation or test split that is there already is kept as it is, and not carved. Unlabelled rows stay in train
    when there are labelled ones, unless their text or group has a label elsewhere: they go with it. A class gets a
    row in every split while it has as many different texts (or groups) as there are splits; a rarer one is in train
    first, then in test, and the report says where it is missing.

    Args:
        validation: a fraction of the labelled rows of train (0.1), or a number of rows (500); 0 carves none.
        test: the same.
        stratify: keep the shares of the classes in every split.
        group: a column; rows with the same value go to the same split (None stands alone). Without it the rows with
            equal normalised texts are the groups. Sizes are met as nearly as whole groups allow.
        seed: another seed, another split; the order of the table plays no part.
        accept_leakage: go on when more than 1 % of a split is also in train.

    Returns:
        Rows with the splits train, validation, test, in the order of the source, and notes in the report.

    Raises:
        ConfigError: a size that is neither a fraction nor a number of rows, or too large.
        DataError: no train split, an unknown ``group``, too few rows or groups, or leakage.
    """
    if "train" not in rows.splits:
        raise DataError(f"only a split named 'train' can be split; there are: {', '.join(rows.splits)}.")
    asked = {"validation": validation, "test": test}
    for name, size in asked.items():
        _check_size(name, size)
    wanted = {name: asked[name] for name in _EVALUATION if asked[name] and name not in rows.splits}
    notes = [
        Note(None, None, "counted", f"kept {name} as it came", f"{len(rows.splits[name]):,} rows", name)
        for name in _EVALUATION
        if name in rows.splits
    ]
    if wanted:
        rows = _carved(rows, wanted, stratify, group, seed)
    found = check_leakage(rows, accept=accept_leakage)
    leaks = [part for part in found.splits if part.leaked]
    notes += [Note(None, "text", "counted", f"rows of {part.split} in train", str(part), part.split) for part in leaks]
    return rows.with_splits(rows.splits, notes)


def _carved(rows: Rows, wanted: dict[str, float], stratify: bool, group: str | None, seed: int) -> Rows:
    train = rows.splits["train"]
    labels = np.asarray(column(train, "label")).astype(np.int64)
    usable = labels >= 0 if (labels >= 0).any() else np.ones(len(labels), bool)
    strata = labels if stratify and (labels >= 0).any() else np.where(usable, 0, -1)
    units = _Units(_names(rows, group), strata, seed)
    sizes = _sizes(wanted, int(usable.sum()))
    where = units.assign(sizes)
    if missing := [name for name in ("train", *sizes) if not (where == name).any()]:
        what = f"{group!r} has {units.count} values" if group else f"train has {units.count} different texts"
        raise DataError(f"no rows are left for {missing[0]}: {what}, too few or too uneven for these sizes.")
    order = ("train", *(name for name in ("validation", "test") if name in sizes))
    carved = {name: train.select(np.flatnonzero(where == name)) for name in order}
    splits = {"train": carved.pop("train"), **carved, **{k: v for k, v in rows.splits.items() if k != "train"}}
    splits = {name: splits[name] for name in sorted(splits, key=_place)}
    shown = ", ".join(f"{name} {int((where == name).sum()):,}" for name in order)
    how = f"by {group!r}" if group else "stratified" if stratify else "at random"
    notes = [Note(None, None, "counted", "split", f"{shown} rows; {how}, seed {seed}")]
    return rows.with_splits(splits, notes + _absent(rows, labels, where, order))


def _place(name: str) -> int:
    known = ("train", "validation", "test")
    return known.index(name) if name in known else len(known)


def _names(rows: Rows, group: str | None) -> list[str]:
    """What rows of train must share to go the same way."""
    train = rows.splits["train"]
    own = table(rows).query("split == 'train'").sort_values("position")["norm"].tolist()
    if group is None:
        return own
    if group not in train.column_names:
        near, known = nearest(group, train.column_names), ", ".join(train.column_names)
        raise DataError(f"there is no column {group!r} to group by.{near} Columns: {known}.")
    values = column(train, group).to_pylist()
    return [f"text {text}" if value is None else f"group {value!r}" for value, text in zip(values, own, strict=True)]


def _absent(rows: Rows, labels: np.ndarray, where: np.ndarray, order: Iterable[str]) -> list[Note]:
    """A note for each class that a split lacks though it has rows."""
    notes = []
    for label, count in enumerate(np.bincount(labels[labels >= 0], minlength=len(rows.spec.classes)).tolist()):
        missing = [name for name in order if count and not (labels[where == name] == label).any()]
        for name in missing:
            detail = f"{rows.spec.classes[label]!r} has {count} row{'s' * (count != 1)}"
            notes.append(Note(None, rows.spec.label, "counted", "class missing from a split", detail, name))
    return notes


def _check_size(name: str, size: float) -> None:
    whole = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    if not whole and not (isinstance(size, float) and 0 <= size < 1):
        raise ConfigError(f"{name} = {size!r} must be a fraction of the rows below 1 (0.1) or a number of rows (500).")


def _sizes(wanted: dict[str, float], total: int) -> dict[str, int]:
    """Split → rows; a fraction gives at least one."""
    sizes = {name: max(1, round(size * total)) if size < 1 else int(size) for name, size in wanted.items()}
    if sum(sizes.values()) >= total:
        asked = " and ".join(f"{name} = {size}" for name, size in wanted.items())
        raise ConfigError(f"{asked} would take {sum(sizes.values()):,} of the {total:,} rows of train: ask for less.")
    return sizes


def _draw(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class _Units:
    """Rows that go the same way together: each unit with its rows per class, in an order drawn by seed and content.

    Args:
        names: what the rows of a unit have in common.
        strata: class of each row; -1 rows take no part, they go where their unit goes, or stay in train.
    """

    def __init__(self, names: list[str], strata: np.ndarray, seed: int):
        self.unit, unique = pd.factorize(np.asarray(names, dtype=object))
        self.count = len(unique)
        counted = strata >= 0
        self.totals = np.bincount(strata[counted])
        self.holders = np.zeros_like(self.totals)  # units of each class
        self.parts: list[list[tuple[int, int]]] = [[] for _ in unique]  # (class, rows) of a unit, its rarest first
        cells, sizes = np.unique(self.unit[counted] * len(self.totals) + strata[counted], return_counts=True)
        units, classes = np.divmod(cells, len(self.totals))
        rarity = np.argsort(self.totals, kind="stable").argsort()
        for at in np.lexsort((rarity[classes], units)):
            self.parts[units[at]].append((int(classes[at]), int(sizes[at])))
            self.holders[classes[at]] += 1
        drawn = [_draw(f"{seed} {name}") for name in unique]
        held = [unit for unit, parts in enumerate(self.parts) if parts]
        self.order = sorted(held, key=lambda unit: (rarity[self.parts[unit][0][0]], drawn[unit]))

    def assign(self, sizes: dict[str, int]) -> np.ndarray:
        """Name of the split of each row: units that fit first, then those that come nearer to the sizes than none."""
        need = {name: targets.tolist() for name, targets in self._targets(sizes).items()}
        room = dict(sizes)
        where = ["train"] * self.count
        for slack in (1, 2):
            for unit in self.order:
                parts = self.parts[unit]
                (rarest, count), total = parts[0], sum(size for _, size in parts)
                if where[unit] != "train":
                    continue
                fits = (n for n in sizes if count <= slack * need[n][rarest] and total <= slack * room[n])
                if name := next(fits, ""):
                    where[unit] = name
                    room[name] -= total
                    for stratum, size in parts:
                        need[name][stratum] -= size
        return np.asarray(where)[self.unit]

    def _targets(self, sizes: dict[str, int]) -> dict[str, np.ndarray]:
        """Split → rows wanted of each class."""
        targets = {}
        left = self.totals - 1  # the last row of a class stays in train
        for place, (name, size) in enumerate(sizes.items()):
            targets[name] = _shared_out(size, self.totals, left, present=self.holders >= place + 2)
            left = left - targets[name]
        return targets


def _shared_out(size: int, totals: np.ndarray, most: np.ndarray, present: np.ndarray) -> np.ndarray:
    """``size`` by the shares of ``totals``, largest remainders first, within 1 (where ``present``) and ``most``."""
    exact = size * totals / totals.sum()
    least = np.minimum(present, most).astype(np.int64)
    out = np.clip(np.floor(exact).astype(np.int64), least, most)
    while gap := size - out.sum():
        step = 1 if gap > 0 else -1
        free = out < most if gap > 0 else out > least
        if not free.any():
            break
        out[np.where(free, step * (exact - out), -np.inf).argmax()] += step
    return out
