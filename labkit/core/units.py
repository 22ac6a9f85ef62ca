"""Counts, sizes and times in short, as text."""

from __future__ import annotations

import math
import re

_BRACKETED, _ENDING = (
    re.compile(r"[(\[（【]([^()\[\]（）【】]{1,12})[)\]）】]\s*$"),
    re.compile(r"[_ .-]([A-Za-z0-9]+)$"),
)
#: Last word of a column's name → unit.
_UNITS = {
    **{code: code.upper() for code in ("eur", "usd", "gbp", "chf", "jpy", "cny", "rmb", "inr", "krw", "rub")},
    **{unit: unit for unit in ("km", "cm", "mm", "kg", "mg", "ml", "ms", "sec", "mph", "mpg", "hp")},
    **{unit: unit for unit in ("days", "hours", "years")},
    "m2": "m²", "sqm": "m²", "qm": "m²", "km2": "km²", "ft2": "ft²", "sqft": "ft²", "m3": "m³", "cm3": "cm³",
    "kmh": "km/h", "kwh": "kWh", "kw": "kW", "pct": "%", "percent": "%", "celsius": "°C", "degc": "°C",
}  # fmt: skip


def scaled(number: float, unit: str = "") -> str:
    """A count: 22.7 M."""
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= max(size, 1e4):
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number:,.0f} {unit}".strip()


def sized(size: float) -> str:
    """Bytes: 1.2 GB."""
    for least, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= least:
            return f"{size / least:.3g} {unit}"
    return f"{size:.0f} B"


def timed(seconds: float) -> str:
    """A short time: 12 ms."""
    for least, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= least:
            return f"{seconds / least:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def compact(number: float, figures: int = 3) -> str:
    """A number to so many significant figures, as the charts write it: 0.152, 3.12e-6."""
    text = f"{number:.{figures - 1}e}" if 0 < abs(number) < 1e-3 else f"{number:.{figures}g}"
    digits, mark, power = text.partition("e")
    if not mark:
        return text
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return f"{digits}e{int(power)}"


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def lasting(seconds: float) -> str:
    """A time that may be long: 12 ms, 8.2 s, 1:05:00."""
    return timed(seconds) if seconds < 60 else duration(seconds)


def plain(value: float, digits: int = 5) -> str:
    """A number with so many significant digits and thousands separators, without an exponent unless it is
    very large or small: 251,251, 0.0123."""
    if not math.isfinite(value):
        return str(value)
    size = math.floor(math.log10(abs(value))) if value else 0
    if not -5 <= size < 15:
        return f"{value:.{digits}g}"
    places = max(digits - 1 - size, 0)
    text = f"{value:,.{places}f}"
    text = text.rstrip("0").rstrip(".") if places else text
    return "0" if text == "-0" else text


def score(value: float, metric: str) -> str:
    """The value of a metric: errors have the unit and size of the target, other metrics three decimals."""
    return plain(value, 4) if metric in ("mae", "rmse") else f"{value:.3f}"


def unit_in(name: str) -> str:
    """The unit that ends the name of a column: "area_m2", "price (EUR)", "温度（℃）"; "" where there is none."""
    if (match := _BRACKETED.search(name)) and not match[1].strip().isdecimal():
        return match[1].strip()
    last = _ENDING.search(name)
    return _UNITS.get(last[1].lower(), "") if last else ""
