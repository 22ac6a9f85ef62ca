"""A run in one line, for lists: name, status, score, model, data, age, id."""

from __future__ import annotations

import time

from labkit.i18n import _
from labkit.i18n.labels import score_name
from labkit.runs.store import RunInfo

#: Column of a list → its label, in this order.
COLUMNS = {
    "name": _("name"), "status": _("status"), "score": _("score"), "model": _("model"), "data": _("data"),
    "age": _("age"), "id": _("id"),
}  # fmt: skip


def overview(info: RunInfo, now: float | None = None) -> dict[str, str]:
    """The texts of a line by column; ``now`` is in seconds since 1970."""
    return {
        "name": info.name, "status": _status(info), "score": score_of(info), "model": _model(info), "data": _data(info),
        "age": _age((time.time() if now is None else now) - info.created), "id": info.id,
    }  # fmt: skip


def score_of(info: RunInfo) -> str:
    """The metric that selects the best checkpoint, on the test rows if they were evaluated: ``F1 0.913
    (test)``."""
    metric = info.summary.get("metric") or "f1"
    for split in ("test", "validation"):
        value = info.summary.get(f"{split}_{metric}")
        if isinstance(value, int | float):
            label = score_name(metric).replace("_", " ")
            return f"{label} {value:.3f}" + (" (test)" if split == "test" else "")
    return ""


def _status(info: RunInfo) -> str:
    share = (
        f" {info.step / info.steps:.0%}"
        if info.steps and info.status in ("running", "paused", "stopped")
        else ""
    )
    return f"{info.status}{share}"


def _model(info: RunInfo) -> str:
    settings = info.settings("model")
    details = settings.get("weights") or settings.get("preset") or ""
    return f"{settings.get('name', '')} {str(details).rstrip('/').rpartition('/')[2]}".strip()


def _data(info: RunInfo) -> str:
    source = str(info.settings("data").get("source", ""))
    return source.rstrip("/").rpartition("/")[2] or "rows in Python"


def _age(seconds: float) -> str:
    for least, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= least:
            return f"{seconds // least:.0f} {unit}"
    return "now"
