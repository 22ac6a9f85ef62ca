"""A run in one line, for lists: name, status, score, model, data, age, id."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labkit.i18n import Message, _, translate
from labkit.i18n.labels import score_name
from labkit.runs.store import RunInfo

#: Column of a list → its label, in this order.
COLUMNS = {
    "name": _("name"), "status": _("status"), "score": _("score"), "model": _("model"), "data": _("data"),
    "age": _("age"), "id": _("id"),
}  # fmt: skip


def overview(info: RunInfo, now: float | None = None, language: str = "en") -> dict[str, str]:
    """The texts of a line by column; ``now`` is in seconds since 1970."""
    age = _age((time.time() if now is None else now) - info.created)
    return {
        "name": info.name, "status": _status(info, language), "score": score_of(info, language),
        "model": _model(info), "data": data_of(info, language), "age": translate(age, language), "id": info.id,
    }  # fmt: skip


def labels_of(infos: Sequence[RunInfo], language: str = "en") -> dict[str, str]:
    """Run id → label for a list: name, status, score, data and when it began; no two are equal."""
    found = {info.id: _label(info, "%m-%d %H:%M", language) for info in infos}
    counts = Counter(found.values())
    for info in infos:
        if counts[found[info.id]] > 1:
            found[info.id] = f"{_label(info, '%Y-%m-%d %H:%M:%S', language)} · {info.id}"
    return found


def _label(info: RunInfo, form: str, language: str) -> str:
    began = time.strftime(form, time.localtime(info.created))
    facts = [
        info.name,
        translate(_(info.status), language),
        score_of(info, language),
        data_of(info, language),
        began,
    ]
    return " · ".join(fact for fact in facts if fact)


def score_of(info: RunInfo, language: str = "en") -> str:
    """The metric that selects the best checkpoint, on the test rows if they were evaluated: ``F1 0.913
    (test)``."""
    metric = info.summary.get("metric") or "f1"
    for split in ("test", "validation"):
        value = info.summary.get(f"{split}_{metric}")
        if isinstance(value, int | float):
            label = translate(score_name(metric), language).replace("_", " ")
            return f"{label} {value:.3f}" + (
                f" ({translate(_('test'), language)})" if split == "test" else ""
            )
    return ""


def _status(info: RunInfo, language: str) -> str:
    share = (
        f" {info.step / info.steps:.0%}"
        if info.steps and info.status in ("running", "paused", "stopped")
        else ""
    )
    return f"{translate(_(info.status), language)}{share}"


def _model(info: RunInfo) -> str:
    settings = _section(info.experiment, "model")
    details = settings.get("weights") or settings.get("preset") or ""
    return f"{settings.get('name', '')} {str(details).rstrip('/').rpartition('/')[2]}".strip()


def data_of(info: RunInfo, language: str = "en") -> str:
    """The file, folder or sample that a run was trained on, in short."""
    if tracker := info.summary.get("imported"):
        return translate(_("imported from {tracker}", tracker=tracker), language)
    source = str(_section(info.experiment, "data").get("source", ""))
    return source.rstrip("/").rpartition("/")[2] or translate(_("rows from Python"), language)


@functools.lru_cache(maxsize=512)
def _section(experiment: str, name: str) -> dict[str, Any]:
    """A section of an experiment; a list of runs is read again whenever one of them changes."""
    return RunInfo("", "", Path(), experiment=experiment).settings(name)


def flat_settings(info: RunInfo) -> dict[str, Any]:
    """Every setting of the run's experiment, the names joined by dots."""
    found: dict[str, Any] = {}

    def walk(values: dict[str, Any], place: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{place}{key}.")
            else:
                found[place + key] = value

    walk(info.settings(), "")
    found.pop("name", None)
    return found


def _age(seconds: float) -> Message:
    for least, text in ((86400, _("{count} d")), (3600, _("{count} h")), (60, _("{count} min"))):
        if seconds >= least:
            return _(text, count=int(seconds // least))
    return _("now")
