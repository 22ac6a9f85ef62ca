"""Scores of a trained model on a split, for tasks other than classification and regression."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from flax import nnx

from labkit.core import html
from labkit.core.config import load_file
from labkit.core.errors import DataError
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.tasks import tasks
from labkit.tasks.base import MetricState
from labkit.train.compilation import use_compilation_cache
from labkit.train.context import load_model
from labkit.train.experiment import Experiment

if TYPE_CHECKING:
    import pandas as pd

    from labkit.evaluate.speech import SpeechReport
    from labkit.evaluate.translation import TranslationReport


class Scores(dict[str, float]):
    """Scores by name, as one line and, in a notebook, as a table.

    ``task``: its name; ``rows``: how many there are; ``intervals``: 95 % of those scores that can be resampled by
    row; ``worst``: rows with their predictions, the worst first, if the task provides them; ``translation``: the
    report of translations; ``speech``: that of transcripts; ``warnings``: sentences such as that texts were truncated.
    """

    def __init__(self, split: str, values: dict[str, float], task: str = "", rows: int = 0):
        super().__init__(values)
        self.split, self.task, self.rows = split, task, rows
        self.intervals: dict[str, tuple[float, float]] = {}
        self.worst: pd.DataFrame | None = None
        self.translation: TranslationReport | None = None
        self.speech: SpeechReport | None = None
        self.warnings: tuple[str, ...] = ()  # what a reader of the scores should know first
        self.decision: None = None  # scenarios are for models that predict a class, labels or a number

    @property
    def scores(self) -> dict[str, float]:
        """Score by name, as the reports of tasks with labels have it."""
        return dict(self)

    @property
    def verdict(self) -> str:
        """That the n-gram baseline of a language model is better than the model; empty otherwise."""
        ours, theirs = self.get("perplexity"), self.get("ngram_perplexity")
        if ours is None or theirs is None or not theirs < ours:
            return ""
        return _(
            "Worse than a baseline: perplexity {value:.4g}, against {other:.4g} of an n-gram model of the training "
            "rows.",
            value=ours, other=theirs,
        )  # fmt: skip

    @property
    def _notes(self) -> list[str]:
        return [*filter(None, [self.verdict]), *self.warnings]

    def __repr__(self) -> str:
        told = f"<{self.split}: {', '.join(f'{name} {value:.4g}' for name, value in self.items())}>"
        return "\n".join([*filter(None, [self.verdict]), told, *self.warnings])

    def _repr_html_(self) -> str:
        told = {name: f" ({low:.4g} – {high:.4g})" for name, (low, high) in self.intervals.items()}
        lines = [(name, f"{value:.4g}{told.get(name, '')}") for name, value in self.items()]
        return html.page(self.split, *self._notes, html.table((), lines, numeric=(1,)))


def assess(folder: Path, rows: Rows, split: str) -> Scores:
    """The scores of the model in ``folder`` on a split of ``rows``.

    Raises:
        DataError: there is no such split, or it is empty.
        WeightsError: the model cannot be read.
    """
    if not len(rows.splits.get(split, ())):
        raise DataError(
            _("no split {split!r}; available: {splits}."), split=split, splits=", ".join(rows.splits)
        )
    use_compilation_cache()
    experiment: Experiment = load_file(Experiment, folder / "labkit.toml")
    module, task, inputs = load_model(experiment, folder)
    graph, state = nnx.split(module)
    batches, _unused = inputs.batches(
        inputs.encode(rows[split]), experiment.train, module.backbone.config, 1, shuffle=False
    )

    @jax.jit
    def add(state: nnx.State, sums: MetricState, batch: dict[str, Any]) -> MetricState:
        return sums.merge(task.loss(nnx.merge(graph, state), batch, None)[2])

    sums = task.empty()
    for batch in batches:
        sums = add(state, sums, batch)
    found = jax.device_get(sums).compute()
    return Scores(split, found, tasks.name_of(experiment.task), len(rows.splits[split]))
