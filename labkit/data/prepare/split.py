"""Splits: train, validation and test, by content, stratified or grouped, with a leakage check.

 Which split a row goes to depends on its content and the seed only, not on the order of the table. Rows with
equal texts always go the same way, so that splitting does not leak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.core.config import Config, checked_seed, known_settings, option
from labkit.core.errors import ConfigError, DataError, nearest
from labkit.data import memmap
from labkit.data.arrow import batches, numbers
from labkit.data.dataset import SplitDataset, Table
from labkit.data.prepare import external
from labkit.data.prepare.dedupe import (
    conflicts,
    dedupe,
    digests,
    drawn,
    exact_duplicates,
    near_duplicates,
    norms,
)
from labkit.data.recipe import recorded
from labkit.data.report import Note
from labkit.data.series import BY_TIME, check_order, cut_times
from labkit.i18n import _, joined, ngettext
from labkit.i18n.labels import split_name

if TYPE_CHECKING:
    from datasets import Dataset

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
        text = _(
            "{leaked:,} of {rows:,} rows of {split} ({share:.1f} %) are also in train",
            leaked=self.leaked, rows=self.rows, split=split_name(self.split), share=100 * self.share,
        )  # fmt: skip
        shown = ", ".join(f"{row} = {train}" for row, train in self.examples)
        return _("{text} (row = row in train: {rows})", text=text, rows=shown) if shown else text


@dataclass(frozen=True)
class Leakage(Config):
    """Exact leakage from the training split into each other split."""

    splits: tuple[SplitLeakage, ...] = option((), "Overlap with train of each other split.")

    @property
    def share(self) -> float:
        """The share of the split that leaks most, 0 to 1."""
        return max((part.share for part in self.splits), default=0.0)

    def __str__(self) -> str:
        return joined(_("; "), map(str, self.splits)) or "no split to evaluate on"

    def to_pandas(self) -> pd.DataFrame:
        """A line for each split: split, rows, leaked, share."""
        lines = [(part.split, part.rows, part.leaked, part.share) for part in self.splits]
        return pd.DataFrame(lines, columns=["split", "rows", "leaked", "share"])


def leakage(rows: SplitDataset) -> Leakage:
    """Count the rows of each other split whose text (normalised as for exact duplicates) is in train too."""
    if "train" not in rows.splits or rows.schema.modality in BY_TIME:  # those are divided by time
        return Leakage(tuple(SplitLeakage(name, len(split), 0) for name, split in rows.splits.items()))
    return _leakage(rows, {name: _draws(split) for name, split in rows.splits.items()})


def _leakage(rows: SplitDataset, draws: dict[str, np.ndarray]) -> Leakage:
    """:func:`leakage` by 64 bits of each text, u64[n], drawn in any one way."""
    known = draws["train"]
    if not len(known):
        return Leakage(
            tuple(SplitLeakage(name, len(mine), 0) for name, mine in draws.items() if name != "train")
        )
    ranked = memmap.array(len(known), np.uint64)
    ranked[:] = known
    ranked.sort()
    return Leakage(
        tuple(_shared(rows, name, draws[name], known, ranked) for name in rows.splits if name != "train")
    )


def _shared(
    rows: SplitDataset, name: str, mine: np.ndarray, known: np.ndarray, ranked: np.ndarray
) -> SplitLeakage:
    """What one split shares with train, whose draws are ``known``, and in order ``ranked``."""

    def in_train(part: slice) -> np.ndarray:
        return ranked[np.minimum(np.searchsorted(ranked, mine[part]), len(ranked) - 1)] == mine[part]

    leaked = memmap.where(len(mine), in_train)
    row, theirs = (
        (numbers(rows.splits[split], "row") for split in (name, "train")) if len(leaked) else (None, None)
    )
    first = leaked[np.argsort(row[leaked], kind="stable")[:5]] if len(leaked) else leaked
    examples = tuple((int(row[at]), int(theirs[known == mine[at]].min())) for at in first)
    return SplitLeakage(name, len(mine), len(leaked), examples)


def check_leakage(rows: SplitDataset, limit: float = 0.01, accept: bool = False) -> Leakage:
    """Raise :class:`DataError` when more than ``limit`` of a split is also in train, unless ``accept``."""
    return _checked(leakage(rows), limit, accept)


def _checked(found: Leakage, limit: float, accept: bool) -> Leakage:
    if found.share > limit and not accept:
        bad = joined(_("; "), [str(part) for part in found.splits if part.share > limit])
        raise DataError(
            _(
                "{bad}. The limit is {limit:g} %. Remove the duplicates from train with `rows.dedupe()`, "
                "or pass accept_leakage=True, which makes scores too optimistic."),
            bad=bad, limit=100 * limit,
        )  # fmt: skip
    return found


# --- splitting ---------------------------------------------------------------------------------------------------

_EVALUATION = ("test", "validation")  # a class of two rows shows itself in test before validation


@recorded
@known_settings
def split(
    rows: Table,
    validation: float = 0.1,
    test: float = 0.1,
    stratify: bool = True,
    group: str | None = None,
    seed: int = 0,
    accept_leakage: bool = False,
    in_order: bool = False,
    site: str | None = None,
    test_sites: Sequence[Any] = (),
    validation_sites: Sequence[Any] = (),
    time: str | None = None,
    test_from: str | float | None = None,
    validation_from: str | float | None = None,
) -> Table:
    """Carve validation and test out of train.

    A validation or test split that is there already is kept as it is, and not carved. Unlabelled rows stay in
    train when there are labelled ones, unless their text or group has a label elsewhere: they go with it. A
    class gets a row in every split while it has as many different texts (or groups) as there are splits; a
    rarer one is in train first, then in test, and the report says where it is missing.

    Time series and interactions are always cut by time, at the same times for all: the latest for test.

    Args:
        validation: a fraction of the labelled rows of train (0.1), or a number of rows (500); 0 carves none.
        test: the same.
        stratify: keep the shares of the classes in every split.
        group: a column; rows with the same value go to the same split (None is its own group). Without it the
            rows with equal normalised texts are the groups. Sizes are met as nearly as whole groups allow.
        seed: another seed, another split; the order of the table plays no part.
        accept_leakage: go on when more than 1 % of a split is also in train.
        in_order: cut the table instead, train first, then validation, then test: for a running text, which
            rows dealt out would tear to pieces. ``stratify``, ``group`` and ``seed`` play no part then.
        site: a column of sites, such as hospitals, of which some are test or validation as a whole: whether the
            model is of use where it was not trained. What is not named is split as without it.
        test_sites, validation_sites: values of ``site``.
        time: a column of numbers or dates: train is earlier than validation, and this than test. Sizes are
            fractions or numbers of the latest rows; rows of one time stay together.
        test_from, validation_from: the first time of a split, instead of its size.

    Returns:
        Rows with the splits train, validation, test, in the order of the source, and notes in the report.

    Raises:
        ConfigError: a size that is neither a fraction nor a number of rows, or too large; settings that exclude
            each other.
        DataError: no train split, an unknown ``group``, ``site`` or ``time``, too few rows or groups, or leakage.
    """
    if "train" not in rows.splits:
        raise DataError(
            _("only a split named 'train' can be split; there are: {splits}."), splits=", ".join(rows.splits)
        )
    asked = {"validation": validation, "test": test}
    for name, size in asked.items():
        _check_size(name, size)
    sites, starts = (
        {name: value for name, value in given.items() if value is not None and value != ()}
        for given in (
            {"test": tuple(test_sites), "validation": tuple(validation_sites)},
            {"test": test_from, "validation": validation_from},
        )
    )
    _check_way(
        {"group": group, "site": site, "time": time, "in_order": in_order or None}, bool(sites), bool(starts)
    )
    wanted = {name: asked[name] for name in _EVALUATION if asked[name] and name not in rows.splits}
    notes = [
        Note(
            None,
            None,
            "counted",
            _("{name} unchanged", name=name),
            _("{n_split:,} rows", n_split=len(rows.splits[name])),
            name,
        )
        for name in _EVALUATION
        if name in rows.splits
    ]
    seed = checked_seed(seed)
    draws: dict[str, np.ndarray] = {}
    if rows.schema.modality in BY_TIME:
        check_order(rows.splits)
        rows = _cut_series(rows, wanted)
        check_order(rows.splits)
        return rows.with_splits(rows.splits, notes)
    if site is not None:
        rows = external.by_site(rows, site, sites)
        wanted = {name: size for name, size in wanted.items() if name not in rows.splits}
    if time is not None:
        wanted = {name: size for name, size in wanted.items() if name not in starts}
        count = len(rows.splits["train"])
        rows = external.in_time(rows, time, _sizes(wanted, count) if wanted else {}, starts)
    elif wanted and in_order:
        rows = _cut(rows, wanted)
    elif wanted:
        rows, draws = _carved(rows, wanted, stratify, group, seed)
    draws = {name: draws[name] if name in draws else _draws(part, seed) for name, part in rows.splits.items()}
    found = _checked(_leakage(rows, draws), 0.01, accept_leakage)
    leaks = [part for part in found.splits if part.leaked]
    notes += [
        Note(None, "text", "counted", _("rows of {split} in train", split=part.split), str(part), part.split)
        for part in leaks
    ]
    return rows.with_splits(rows.splits, notes)


def _check_way(ways: dict[str, object], sites: bool, starts: bool) -> None:
    """Raise :class:`ConfigError` for ways to split that exclude each other, and for settings without their column."""
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1 and set(given) != {"group", "site"}:
        raise ConfigError(
            _("{first} and {second} are different ways to split; give one of them."),
            first=given[0],
            second=given[1],
        )
    for there, name in ((sites, "site"), (starts, "time")):
        if there and name not in given:
            raise ConfigError(_("give {name}=…, the column, too."), name=name)


def _cut(rows: Table, wanted: dict[str, float]) -> Table:
    """The rows with splits cut off the end of train, in the order of the table."""
    train = rows.splits["train"]
    sizes = _sizes(wanted, len(train))
    end, carved = len(train), {}
    for name in reversed([name for name in ("validation", "test") if name in sizes]):
        carved[name] = memmap.chosen(train, np.arange(end - sizes[name], end))
        end -= sizes[name]
    if end < 1 or not all(map(len, carved.values())):
        raise DataError(
            _("{n_rows} rows are too few to split into train, {sizes}."),
            n_rows=len(train),
            sizes=joined(", ", map(split_name, sizes)),
        )
    splits = {**rows.splits, **carved, "train": memmap.chosen(train, np.arange(end))}
    splits = {name: splits[name] for name in sorted(splits, key=_place)}
    shown = ", ".join(f"{name} {len(part):,}" for name, part in splits.items())
    return rows.with_splits(
        splits,
        [Note(None, None, "counted", _("split"), _("{shown} rows; in their original order", shown=shown))],
    )


def _cut_series(rows: Table, wanted: dict[str, float]) -> Table:
    """The rows with the latest times cut off train, at the same times for all series or users."""
    if not wanted:
        return rows
    train = rows.splits["train"]
    times = np.asarray(numbers(train, "time", np.float64))
    parts = cut_times(times, _sizes(wanted, len(np.unique(times))))
    if empty := [name for name, part in parts.items() if not part.any()]:
        raise DataError(
            _("no rows remain for {missing}: {what}, too few or too uneven for these sizes."),
            missing=split_name(empty[0]), what=_("{n_rows:,} rows", n_rows=len(train)),
        )  # fmt: skip
    carved = {name: memmap.chosen(train, np.flatnonzero(part)) for name, part in parts.items()}
    splits = {**rows.splits, **carved}
    splits = {name: splits[name] for name in sorted(splits, key=_place)}
    shown = ", ".join(f"{name} {len(part):,}" for name, part in splits.items())
    return rows.with_splits(
        splits,
        [Note(None, None, "counted", _("split"), _("{shown} rows; in the order of time", shown=shown))],
    )


def _carved(
    rows: Table, wanted: dict[str, float], stratify: bool, group: str | None, seed: int
) -> tuple[Table, dict[str, np.ndarray]]:
    """The rows with splits carved out of train, and what was drawn for the texts of these, if it was."""
    train = rows.splits["train"]
    labels = numbers(train, "label")
    labelled = sum(int(np.count_nonzero(labels[part] >= 0)) for part in memmap.portions(len(labels)))
    strata, stratify = labels, stratify and rows.schema.problem_type == "class"
    if not (stratify and labelled):
        strata = memmap.array(len(labels), np.int8)
        for part in memmap.portions(len(labels)):
            strata[part] = np.where((labels[part] >= 0) | (not labelled), 0, -1)
    draws = _draws(train, seed) if group is None else _group_draws(rows, group, seed)
    units = _Units(draws, strata)
    sizes = _sizes(wanted, labelled or len(labels))
    names = ("train", *sizes)
    where = units.assign(sizes)
    kinds = len(rows.schema.classes) if rows.schema.problem_type == "class" else 1
    counts = np.zeros((len(names), 1 + kinds), np.int64)  # split → rows without a label, of a class
    for part in memmap.portions(len(where)):
        cells = where[part].astype(np.int64) * counts.shape[1] + np.maximum(labels[part], -1) + 1
        counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    held = dict(zip(names, counts.sum(axis=1).tolist(), strict=True))
    if missing := [name for name in names if not held[name]]:
        what = (
            _("{group!r} has {n_units} values", group=group, n_units=units.count)
            if group
            else _("train has {n_units} different texts", n_units=units.count)
        )
        raise DataError(
            _("no rows remain for {missing}: {what}, too few or too uneven for these sizes."),
            missing=split_name(missing[0]),
            what=what,
        )
    order = ("train", *(name for name in ("validation", "test") if name in sizes))
    places = {name: _places(where, names.index(name)) for name in order}
    carved = {name: memmap.chosen(train, places[name]) for name in order}
    splits = {
        "train": carved.pop("train"),
        **carved,
        **{k: v for k, v in rows.splits.items() if k != "train"},
    }
    splits = {name: splits[name] for name in sorted(splits, key=_place)}
    shown = ", ".join(f"{name} {held[name]:,}" for name in order)
    how = _("stratified") if stratify else _("at random")
    if group:
        how = _("by {group!r}", group=group)
    notes = [
        Note(
            None,
            None,
            "counted",
            _("split"),
            _("{shown} rows; {how}, seed {seed}", shown=shown, how=how, seed=seed),
        )
    ]
    if rows.schema.problem_type == "class":
        notes += _absent(rows, {name: counts[names.index(name), 1:] for name in order})
    drawn_for = {} if group else {name: memmap.take(draws, there) for name, there in places.items()}
    return rows.with_splits(splits, notes), drawn_for


def _places(where: np.ndarray, number: int) -> np.ndarray:
    return memmap.where(len(where), lambda part: where[part] == number)


def _place(name: str) -> int:
    known = ("train", "validation", "test")
    return known.index(name) if name in known else len(known)


def _draws(split: Dataset, seed: int = 0) -> np.ndarray:
    """64 bits of each text, u64[n]: the same for exact copies, else as good as drawn."""
    return digests(split, f"{seed} ")[:, 0]


def _group_draws(rows: SplitDataset, group: str, seed: int) -> np.ndarray:
    """64 bits of what rows of train must share to go the same way, u64[n]."""
    train = rows.splits["train"]
    if group not in train.column_names:
        near, known = nearest(group, train.column_names), ", ".join(train.column_names)
        raise DataError(
            _("there is no column {group!r} to group by.{near} Columns: {known}."),
            group=group,
            near=near,
            known=known,
        )
    values = (value for part in batches(train, [group]) for value in part.column(0).to_pylist())
    names = (
        f"text {text}" if v is None else f"group {v!r}" for v, text in zip(values, norms(train), strict=True)
    )
    return drawn(len(train), (name.encode("utf-8", "surrogatepass") for name in names), f"{seed} ")[:, 0]


def _absent(rows: SplitDataset, counts: dict[str, np.ndarray]) -> list[Note]:
    """A note for each class that a split lacks though it has rows; ``counts`` are the rows of a split by
    class."""
    notes, classes = [], rows.schema.classes
    for label, count in enumerate(np.sum(list(counts.values()), axis=0).tolist()):
        for name in (name for name, found in counts.items() if count and not found[label]):
            detail = ngettext("{label!r} has {n} row", "{label!r} has {n} rows", count, label=classes[label])
            notes.append(
                Note(None, rows.schema.label, "counted", _("class missing from a split"), detail, name)
            )
    return notes


def _check_size(name: str, size: float) -> None:
    whole = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    if not whole and not (isinstance(size, float) and 0 <= size < 1):
        raise ConfigError(
            _("{name} = {size!r} must be a fraction of the rows below 1 (0.1) or a number of rows (500)."),
            name=name,
            size=size,
        )


def _sizes(wanted: dict[str, float], total: int) -> dict[str, int]:
    """Split → rows; a fraction gives at least one."""
    sizes = {name: max(1, round(size * total)) if size < 1 else int(size) for name, size in wanted.items()}
    if sum(sizes.values()) >= total:
        asked = joined(
            _(" and "),
            [_("{split} = {size}", split=split_name(name), size=size) for name, size in wanted.items()],
        )
        raise ConfigError(
            _("{asked} needs {size:,} of the {total:,} rows of train: choose smaller sizes."),
            asked=asked, size=sum(sizes.values()), total=total,
        )  # fmt: skip
    return sizes


class _Units:
    """Rows that go the same way together: each unit with its rows per class, in an order drawn by seed and
    content.

    Units are numbered by their draws. A cell is the rows that a unit has of one class; the cells of a unit
    stand together, the rarest class first. All arrays are out of memory, and are made in portions.

    Args:
        draws: of each row, equal for the rows of a unit (:func:`_draws`).
        strata: class of each row; -1 rows take no part, they go where their unit goes, or stay in train.
    """

    def __init__(self, draws: np.ndarray, strata: np.ndarray):
        count = len(draws)
        self.totals = np.zeros(max(0, int(strata.max(initial=-1))) + 1, np.int64)
        for part in memmap.portions(count):
            self.totals += np.bincount(strata[part][strata[part] >= 0], minlength=len(self.totals))
        rarity = np.argsort(self.totals, kind="stable").argsort()
        self.unit, self.count = memmap.array(count, np.int32), 0
        self.sizes, self.classes, self.begin, self.held, lead = (
            memmap.array(count + 1, np.int32) for _ in range(5)
        )
        self.holders = np.zeros(len(self.totals), np.int64)  # units of each class
        commonest, cells, units = np.argsort(rarity), 0, 0
        for unit, rank, size in self._cells(draws, strata, rarity):
            self.sizes[cells : cells + len(size)] = size
            self.classes[cells : cells + len(size)] = commonest[rank]
            self.holders += np.bincount(commonest[rank], minlength=len(self.holders))
            first = np.flatnonzero(np.diff(unit, prepend=-1))  # each unit's first cell
            here = slice(units, units + len(first))
            self.begin[here], self.held[here], lead[here] = first + cells, unit[first], rank[first]
            cells, units = cells + len(size), units + len(first)
        self.begin[units] = cells
        self.order, counts = memmap.by_kind(units, lambda part: lead[part], len(self.totals))
        ends = np.cumsum(counts).tolist()
        self.rarest = [(int(commonest[rank]), range(end - some, end))  # class → places in the order
                       for rank, (some, end) in enumerate(zip(counts.tolist(), ends, strict=True)) if some]  # fmt: skip

    def _cells(
        self, draws: np.ndarray, strata: np.ndarray, rarity: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Numbers the units, and yields unit, rank by rarity and size of the cells, in order; no unit is cut."""
        order, last = memmap.order(draws), None
        kept, sizes = np.empty(0, np.int64), np.empty(0, np.int64)
        for part in memmap.portions(len(draws)):
            rows = order[part]
            mine = draws[rows]
            first = np.diff(mine, prepend=~mine[:1] if last is None else last) != 0
            unit = self.count - 1 + np.cumsum(first)
            self.unit[rows], self.count, last = unit, int(unit[-1]) + 1, mine[-1:]
            ranks = strata[rows]
            new = (unit * len(rarity) + rarity[ranks])[ranks >= 0]
            cells, place = np.unique(np.concatenate([kept, new]), return_inverse=True)
            sizes = np.bincount(place, np.concatenate([sizes, np.ones(len(new))])).astype(np.int64)
            whole = int(np.searchsorted(cells, unit[-1] * len(rarity)))  # the last unit may go on
            yield *np.divmod(cells[:whole], len(rarity)), sizes[:whole]
            kept, sizes = cells[whole:], sizes[whole:]
        yield *np.divmod(kept, len(rarity)), sizes

    def assign(self, sizes: dict[str, int]) -> np.ndarray:
        """The split of each row, i8[n], 0 for train, k for the k-th of ``sizes``.

        Units that fit come first, then those that come nearer to the sizes than none.
        """
        need = [targets.tolist() for targets in self._targets(sizes).values()]
        room = list(sizes.values())
        where = memmap.array(self.count, np.int8)
        where[:] = 0
        for slack in (1, 2):
            for rarest, places in self.rarest:
                self._take(places, rarest, slack, need, room, where)
        return memmap.take(where, self.unit)

    def _take(
        self,
        places: range,
        rarest: int,
        slack: int,
        need: list[list[int]],
        room: list[int],
        where: np.ndarray,
    ) -> None:
        """Go through units of one rarest class, in order, until no split has a need of it or room."""
        for place in places:
            open_ = [k for k in range(len(room)) if slack * need[k][rarest] >= 1 and slack * room[k] >= 1]
            if not open_:
                return
            at = self.order[place]
            if where[self.held[at]]:
                continue
            cells = slice(self.begin[at], self.begin[at + 1])
            parts = list(zip(self.classes[cells].tolist(), self.sizes[cells].tolist(), strict=True))
            count, total = parts[0][1], sum(size for _, size in parts)
            fits = (k for k in open_ if count <= slack * need[k][rarest] and total <= slack * room[k])
            if (k := next(fits, -1)) >= 0:
                where[self.held[at]] = k + 1
                room[k] -= total
                for stratum, size in parts:
                    need[k][stratum] -= size

    def _targets(self, sizes: dict[str, int]) -> dict[str, np.ndarray]:
        """Split → rows wanted of each class."""
        targets = {}
        left = np.maximum(
            self.totals - 1, 0
        )  # the last row of a class stays in train; a class may have no row
        for place, (name, size) in enumerate(sizes.items()):
            targets[name] = _shared_out(size, self.totals, left, present=self.holders >= place + 2)
            left = left - targets[name]
        return targets


def _shared_out(size: int, totals: np.ndarray, most: np.ndarray, present: np.ndarray) -> np.ndarray:
    """``size`` by the shares of ``totals``, largest remainders first, within 1 (where ``present``) and
    ``most``."""
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
