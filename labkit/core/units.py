"""Counts, sizes and times in short, as text."""

from __future__ import annotations


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
