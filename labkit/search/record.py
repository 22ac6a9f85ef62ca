"""What a study knows of itself: one JSON file, replaced as a whole after every change."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from labkit.core.cache import write_atomic
from labkit.core.errors import RunError
from labkit.i18n import _
from labkit.tasks import LOWER

FILE = "study.json"
#: Folder of a lab folder that holds its studies.
FOLDER = "studies"
#: Kinds of candidates: a run of an experiment, a baseline, a predictor of other origin.
KINDS = ("run", "baseline", "added")


@dataclass
class Candidate:
    """One line of a study.

    Attributes:
        name: of the candidate.
        kind: one of :data:`KINDS`.
        experiment: TOML of what a run does; empty until a search space has drawn its settings.
        space: place of the search space that it comes from; None for one that was given.
        values: the settings that were drawn from the search space.
        run: id of its run.
        status: waiting, training, paused, pruned, finished or failed.
        rungs: steps at which it is compared with the others.
        scores: rung → validation score there; the last rung is the end of the run.
        steps: of the whole run.
        step: reached so far.
        seconds: of training so far.
        energy: watt-hours of training so far, at least and at most, and how that is known.
        costs: what else is known: parameters, flops, memory, …
        error: why it failed.
    """

    name: str
    kind: str
    experiment: str = ""
    space: int | None = None
    values: dict[str, Any] = field(default_factory=dict)
    run: str = ""
    status: str = "waiting"
    rungs: list[int] = field(default_factory=list)
    scores: dict[str, float | None] = field(default_factory=dict)
    steps: int = 0
    step: int = 0
    seconds: float = 0.0
    energy: list[Any] = field(default_factory=lambda: [0.0, 0.0, ""])
    costs: dict[str, float | None] = field(default_factory=dict)
    error: str = ""

    @property
    def score(self) -> float | None:
        """The score at the highest rung that it reached."""
        return self.scores[max(self.scores, key=int)] if self.scores else None


@dataclass
class StudyRecord:
    """A study: its settings, its candidates and how far it is."""

    id: str
    name: str
    created: float
    settings: dict[str, Any]
    candidates: list[Candidate] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    rung: int = 0
    status: str = "created"
    message: str = ""
    metric: str = ""
    threads: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def sign(self) -> float:
        """1, or -1 where less of the metric is better."""
        return -1.0 if self.metric in LOWER else 1.0

    def save(self, folder: Path) -> None:
        """Replace the file in ``folder``."""
        write_atomic(folder / FILE, json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the file in ``folder``. Raises :class:`RunError` where it cannot be read."""
        try:
            values = json.loads((folder / FILE).read_text(encoding="utf-8"))
            candidates = [Candidate(**each) for each in values.pop("candidates")]
            return cls(candidates=candidates, **values)
        except FileNotFoundError:
            raise RunError(_("no study {study!r} in this lab folder."), study=folder.name) from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(
                _("the file of study {study!r} cannot be read: {error}."), study=folder.name, error=str(error)[:200]
            ) from error  # fmt: skip
