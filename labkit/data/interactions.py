"""Interactions of users with items: rows in the order of time, and histories of users as item numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from labkit.data.arrow import column, numbers
from labkit.data.cells import category_name, read
from labkit.data.columns import Choice, check_columns
from labkit.data.io.arrow_cache import Part
from labkit.data.report import Report
from labkit.data.series import time_column
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset


def read_interactions(
    parts: Mapping[str, Part], choice: Choice, rows: Mapping[str, np.ndarray], report: Report,
    bad: Mapping[str, np.ndarray],
) -> dict[str, Dataset]:  # fmt: skip
    """The splits as rows of user, item, title and time, in the order of time; rows without one of them are refused in
    ``bad``. Of the same user and item the first row is used, the others are counted.

    Raises:
        DataError: there is no such column.
    """
    from datasets import Dataset

    assert choice.user and choice.item and choice.time
    wanted = [choice.user, choice.item, choice.time, *([choice.title] if choice.title else [])]
    found, first = {}, next(iter(parts))
    how = None
    for split, part in parts.items():
        check_columns(part.table, wanted, split)
        how = how or time_column(part.table if split == first else parts[first].table, choice.time)
        times, wrong = read(column(part.table, choice.time), how[0])
        users, items, titles = (
            _names(part.table, name) for name in (choice.user, choice.item, choice.title or choice.item)
        )
        for name, empty in (
            (choice.time, wrong | ~np.isfinite(times)), (choice.user, users == ""), (choice.item, items == ""),
        ):  # fmt: skip
            report.add("refused", _("no value"), rows[split][empty & ~bad[split]], column=name, split=split)
            bad[split][empty] = True
        order = np.argsort(np.where(bad[split], np.inf, times), kind="stable")[: int((~bad[split]).sum())]
        pairs = np.char.add(np.char.add(users[order].astype(str), "\x1f"), items[order].astype(str))
        _values, once = np.unique(pairs, return_index=True)
        again = np.setdiff1d(np.arange(len(order)), once)
        report.add("counted", _("same user and item, counted once"), rows[split][order[again]], split=split)
        order = order[np.sort(once)]
        found[split] = Dataset(pa.table({
            "user": pa.array(users[order].tolist(), pa.string()), "item": pa.array(items[order].tolist(), pa.string()),
            "title": pa.array(titles[order].tolist(), pa.string()),
            "time": times[order], "label": np.full(len(order), -1, np.int32), "row": rows[split][order],
        }))  # fmt: skip
    return found


def _names(table: Dataset, name: str) -> np.ndarray:
    values = column(table, name).to_pylist()
    return np.array(["" if value is None else category_name(value) for value in values], object)


@dataclass(frozen=True, eq=False)
class Histories:
    """The items of users in the order of time, end to end.

    Attributes:
        item: i32[n], number of each item, 1 … items; 0 for one that is not in the catalogue.
        time: f64[n].
        offsets: i64[u + 1], where each user begins, and the end of the last.
        users: names of the users.
    """

    item: np.ndarray
    time: np.ndarray
    offsets: np.ndarray
    users: tuple[str, ...]

    @classmethod
    def of(cls, datasets: Sequence[Dataset], catalogue: Mapping[str, int]) -> Histories:
        """Of splits that follow each other in time, for the items of a catalogue."""
        user = np.concatenate([np.array(part.with_format(None)["user"], object) for part in datasets])
        names = [name for part in datasets for name in part.with_format(None)["item"]]
        item = np.array([catalogue.get(name, 0) for name in names], np.int32)
        time = np.concatenate([np.asarray(numbers(part, "time", np.float64)) for part in datasets])
        users, which = np.unique(user.astype(str), return_inverse=True)
        order = np.lexsort((np.arange(len(time)), time, which))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(which, minlength=len(users)))]).astype(np.int64)
        return cls(item[order], time[order], offsets, tuple(users.tolist()))

    def __len__(self) -> int:
        return len(self.users)

    def of_user(self, number: int) -> np.ndarray:
        """The items of a user, i32[n]."""
        return self.item[self.offsets[number] : self.offsets[number + 1]]
