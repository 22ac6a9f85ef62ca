"""Score against cost of runs: which runs can be compared, and which of them no other one beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit.core.errors import ConfigError, nearest
from labkit.i18n import _
from labkit.i18n.message import Message
from labkit.runs.overview import data_of
from labkit.runs.store import RunInfo


def _seconds(info: RunInfo) -> float | None:
    return info.ended - info.started if info.ended and info.started else None


#: Cost → its label and its value of a run.
COSTS: dict[str, tuple[Message, Callable[[RunInfo], float | None]]] = {
    "parameters": (_("Parameters"), lambda info: info.summary.get("parameters")),
    "trainable": (_("Trained parameters"), lambda info: info.summary.get("trainable")),
    "seconds": (_("Seconds from start to end"), _seconds),
    "steps": (_("Optimizer steps"), lambda info: info.step),
}


@dataclass(frozen=True)
class RunCost:
    """A run as a point: its cost, and the validation score of the model that was kept."""

    id: str
    name: str
    cost: float
    score: float


def groups_of(infos: Sequence[RunInfo]) -> list[tuple[str, str]]:
    """(data, metric) of the runs with a score, that of the newest run first: only scores of one metric on the same
    data are comparable."""
    return list(dict.fromkeys(_group(info) for info in infos if _score(info) is not None))


def points_of(infos: Sequence[RunInfo], cost: str, group: tuple[str, str] | None = None) -> list[RunCost]:
    """The runs of a group (default: of the newest run) that have a score and a cost, cheapest first.

    Raises:
        ConfigError: ``cost`` is none of :data:`COSTS`.
    """
    if cost not in COSTS:
        known, hint = ", ".join(COSTS), nearest(cost, COSTS)
        raise ConfigError(
            _("cost = {cost!r} must be one of {known}.{hint}"), cost=cost, known=known, hint=hint
        )
    found = groups_of(infos)
    wanted = group if group is not None else found[0] if found else ("", "")
    made = []
    for info in infos:
        value, score = COSTS[cost][1](info), _score(info)
        if value and score is not None and _group(info) == wanted:
            made.append(RunCost(info.id, info.name, float(value), score))
    return sorted(made, key=lambda point: (point.cost, point.score))


def pareto_front(points: Sequence[RunCost], lower: bool = False) -> list[RunCost]:
    """The points that no other one beats: none is at most as expensive and at least as good, and better in one."""
    sign = -1.0 if lower else 1.0
    front: list[RunCost] = []
    for point in sorted(points, key=lambda point: (point.cost, -sign * point.score)):
        if not front or sign * point.score > sign * front[-1].score:
            front.append(point)
    return front


def _group(info: RunInfo) -> tuple[str, str]:
    return data_of(info), str(info.summary.get("metric") or "f1")


def _score(info: RunInfo) -> float | None:
    value = info.summary.get(f"validation_{info.summary.get('metric') or 'f1'}")
    return float(value) if isinstance(value, int | float) and info.over else None
