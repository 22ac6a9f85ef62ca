"""Precision of standardised features in float32."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import pyarrow as pa

from labkit.data.report import CAP, Report, visible
from labkit.i18n import _

#: The largest number of float32, about 3.4e38.
LARGEST = float(np.finfo(np.float32).max)
#: Whole numbers up to this one are float64; of larger ones only some.
WHOLE = 2**53
#: Steps of a float that rounding errors of a calculation may cover.
STILL = 4
#: Share of the different values that may be lost unnoticed: as many continuous measurements come to lie
#: together.
UNNOTICED = 0.01
#: Whole numbers that lie in a range below this one stay different in float32 once they are standardised.
_NARROW = 2**22
#: Why a number is refused.
BEYOND = _("number beyond ±3.4e38, the range of float32")


def beyond(values: np.ndarray) -> np.ndarray:
    """Which numbers are finite and not in the range of float32."""
    return np.isfinite(values) & (np.abs(values) > LARGEST)


def settle(
    cells: pa.ChunkedArray, values: np.ndarray, rows: np.ndarray, name: str, split: str, report: Report
) -> np.ndarray:
    """Refuse the numbers of a column that float32 cannot hold, and note the whole numbers that float64
    rounds.

    Args:
        cells: the column.
        values: its numbers f64[n]; those that are refused become NaN.
        rows: i64[n], row numbers for the report.
        name: of the column.
        split: that it is of.
        report: takes what is refused or rounded.

    Returns:
        Which rows are refused, bool[n].
    """
    large = beyond(values)
    if large.any():
        detail = [visible(str(cells[int(row)].as_py()), 60) for row in np.flatnonzero(large)[:CAP]]
        report.add("refused", BEYOND, rows[large], column=name, detail=detail, split=split)
        values[large] = np.nan
    doubtful = np.flatnonzero(np.abs(values) >= WHOLE)
    rounded = [row for row in doubtful.tolist() if _whole(cells[row].as_py()) not in (None, int(values[row]))]
    report.add("repaired", _("integers beyond 2^53 rounded"), rows[rounded], column=name, split=split)
    return large


def _whole(value: object) -> int | None:
    """The whole number that a cell holds or shows; None for others, which are rounded by nature."""
    if isinstance(value, str):
        return int(value) if len(value) < 1000 and re.fullmatch(r"\s*[+-]?\d+\s*", value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else None
    return value if isinstance(value, int) else None


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation f64[k] of the finite values of every column of [n, k], each of which has some.

    The deviation is 0 where all values are equal, up to the rounding errors of a calculation.
    """
    kind = values.dtype if values.dtype.kind == "f" else np.float64
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    low, high = (
        np.min(values, 0, where=known, initial=np.inf),
        np.max(values, 0, where=known, initial=-np.inf),
    )
    count = known.sum(0)
    off = np.where(known, values - low, 0)  # sums of large numbers would be rounded
    middle = off.sum(0) / count
    off = np.where(known, off - middle, 0)
    unit = np.abs(off).max(0, initial=0)  # squares of very small numbers would be 0
    unit[unit == 0] = 1
    off /= unit
    scale = np.sqrt(np.sum(off * off, 0) / count) * unit
    step = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(kind))
    still = high - low <= STILL * step
    mean = low + middle
    return mean, np.where(still, 0.0, scale)


def note_lost(
    values: np.ndarray, name: str, split: str, report: Report, fitted: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Count in ``report`` the distinct values f64[n] of a column that become equal in float32.

    Args:
        values: NaN where there is none.
        name: of the column.
        split: that it is of.
        report: takes the count.
        fitted: mean and deviation of the training rows; left out, those of ``values``.

    Returns:
        The mean and deviation that were used.
    """
    values = values[np.isfinite(values)]
    if fitted is None:
        mean, scale = (float(each[0]) for each in moments(values[:, None])) if len(values) else (0.0, 1.0)
        fitted = mean, scale if scale > 0 else 1.0
    if not len(values):
        return fitted
    low, high = min(values.min(), fitted[0]), max(values.max(), fitted[0])
    if high - low < _NARROW and np.array_equal(values, np.floor(values)):
        return fitted
    with np.errstate(over="ignore"):
        ordered = np.sort(values)
        rounded = ((ordered - fitted[0]) / fitted[1]).astype(np.float32)
    before, after = (1 + int(np.count_nonzero(each[1:] != each[:-1])) for each in (ordered, rounded))
    if before - after > UNNOTICED * before:
        detail = f"{before - after:,} of {before:,} different values"
        report.add("counted", _("values that are equal in float32"), column=name, detail=detail, split=split)
    return fitted


def rounded_away(values: np.ndarray) -> str | None:
    """What float32 cannot hold of the numbers of pictures, as part of a sentence; None where it holds them.

    Pictures are not standardised, so small differences between large numbers would be lost.
    """
    if values.dtype in (np.float32, np.float16) or values.dtype.itemsize < 4 or not values.size:
        high = values.max(initial=0) if values.dtype.kind == "f" else 0
        return (
            None
            if np.isfinite(high) and np.isfinite(values.min(initial=0))
            else _("a value is missing or infinite")
        )
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        return _("a value is missing or infinite")
    if max(-low, high) > LARGEST:
        return _("{low:g} is a {beyond}", low=low if -low > high else high, beyond=BEYOND)
    step = float(np.spacing(np.float32(max(-low, high))))
    if high > low and step > UNNOTICED * (high - low):
        return _(
                            "the values are between {low:.17g} and {high:.17g}, where float32 has a resolution of "
                "{step:g}: subtract {low:g}",
            low=low, high=high, step=step,
        )  # fmt: skip
    return None
