"""How many more labels are worth buying: learning curves of models and baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.core import html
from labkit.core.errors import ConfigError
from labkit.data.io.load import load
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.runs.store import Store
from labkit.search import learning_curve as measured
from labkit.tasks import BY_PROBLEM_TYPE, tasks
from labkit.train.experiment import Experiment, experiment_of, ready

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource
    from labkit.train.experiment import ModelSource


class LearningCurve(measured.MeasuredCurve):
    """Scores by the number of training rows, with the fitted law; see :func:`learning_curve`."""

    def figure(self) -> Any:
        """Scores, the law and its band up to four times the rows, as a Plotly figure."""
        from labkit.viz import plotly
        from labkit.viz.learning_curve import figure

        return plotly.to_plotly(figure(self))

    def __repr__(self) -> str:
        return f"{self.sentence()}\n{self.table().to_string(float_format='{:.4f}'.format, na_rep='')}"

    def _repr_html_(self) -> str:
        from labkit.viz import svg
        from labkit.viz.learning_curve import figure

        table = html.Html(self.table().to_html(float_format="{:.4f}".format, na_rep=""))
        return html.page(self.sentence(), table, svg.inline(figure(self)))


def learning_curve(
    rows: RowSource,
    model: ModelSource | Experiment | None = None,
    *,
    baseline: str | None = None,
    sizes: int = 6,
    orders: int | None = None,
    split: str = "validation",
    seed: int = 0,
    folder: str | Path | None = None,
    accept_leakage: bool = False,
    **options: object,
) -> LearningCurve:
    """How many more labels are worth: a model is trained on nested subsets of the training rows, from an
    eighth to all, and scored on the same rows each time; a power law with a bootstrap band is fitted.

    Args:
        rows: rows from :func:`~labkit.load`, or anything it accepts.
        model: as for :func:`~labkit.fit`, or an experiment; every subset becomes a run of the lab folder.
        baseline: instead of a model the name of a baseline, such as "TF-IDF + logistic regression": seconds.
        sizes: numbers of rows.
        orders: orders in which rows are added; more make the band narrower. Default: 1 for a model, 5 for a
            baseline.
        split: the rows that scores are of.
        seed: of the orders.
        folder: the lab folder.
        accept_leakage: as for :func:`~labkit.fit`.
        **options: settings of the training, as for :func:`~labkit.fit`.

    Raises:
        ConfigError, DataError: a setting is invalid, or there are too few training rows.
    """
    if (model is None) == (baseline is None):
        raise ConfigError(_("a learning curve is of a model or of a baseline: give one of them."))
    if baseline is not None:
        rows = rows if isinstance(rows, Rows) else load(rows)
        rows = ready(rows, tasks[BY_PROBLEM_TYPE[rows.schema.problem_type]](), accept_leakage)
        learner = measured.of_baseline(baseline, seed)
    else:
        if isinstance(model, Experiment):
            rows = ready(rows if isinstance(rows, Rows) else load(rows), model.task, accept_leakage)
            experiment = model
        else:
            rows, experiment = experiment_of(rows, model, accept_leakage, options)
        learner = measured.of_experiment(Store(folder), experiment)
    usual = 1 if baseline is None else 5
    found = measured.measure(
        rows, learner, sizes=sizes, orders=usual if orders is None else orders, split=split, seed=seed
    )
    return LearningCurve(found.points, found.law, found.metric, found.split)
