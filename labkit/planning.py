"""Planning a run: cost estimate, largest batch size, learning rate range test and schedule plot."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.train.experiment import experiment_of, settings
from labkit.train.lr_finder import RateSearchResult
from labkit.train.lr_finder import find_learning_rate as search
from labkit.train.optimizer import Optimizer

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource
    from labkit.profile.cost import Estimate
    from labkit.train.context import TrainContext
    from labkit.train.experiment import ModelSource


def estimate(
    rows: RowSource,
    model: ModelSource = "bert",
    *,
    accept_leakage: bool = False,
    measure: bool = True,
    exact: bool = False,
    **options: object,
) -> Estimate:
    """Estimate the training cost without allocating weights: parameters, FLOPs, memory, time here and on
    other hardware.

    By formula: memory within 15 % of the plan of the XLA compiler on every preset, FLOPs within 2 % but for
    the smallest models. Models and tasks without a formula are compiled for it.

    Args:
        rows, model, accept_leakage, **options: as for :func:`fit`. The rows are loaded and tokenised only.
        measure: benchmark this machine for two seconds, unless done today; if False, no time is estimated for
        it.
        exact: take the memory from XLA's own plan: the step is compiled in a separate process, in seconds.
    """
    from labkit.profile.cost import estimate as of_steps
    from labkit.profile.hardware import calibrate
    from labkit.train import xla_plan
    from labkit.train.context import shapes_of

    with _planned(rows, model, accept_leakage, options) as (plan, folder):
        shapes, each = shapes_of(plan.batches, plan.steps), plan.batches.examples_per_step
        plans = xla_plan.plans(plan.experiment, folder) if exact else None
        return of_steps(plan.steps, shapes, each, calibrate() if measure else None, plans=plans)


class RateSearch(RateSearchResult):
    """Result of :func:`find_learning_rate`."""

    def figure(self) -> Any:
        """Loss over the learning rate, as a Plotly figure; the suggested rate is marked."""
        from labkit.viz import curves, plotly

        return plotly.to_plotly(curves.rate_search(self))


def find_learning_rate(
    rows: RowSource,
    model: ModelSource = "bert",
    *,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    accept_leakage: bool = False,
    **options: object,
) -> RateSearch:
    """Learning rate range test: train up to ``steps`` steps while the rate rises from ``low`` to ``high``.
    Nothing is saved.

    Args:
        rows, model, accept_leakage, **options: as for :func:`fit`.

    Returns:
        The rates and losses, a ``suggestion`` and a ``figure()``.
    """
    rows, experiment = experiment_of(rows, model, accept_leakage, options)
    found = search(experiment, rows, low, high, steps)
    return RateSearch(found.rates, found.losses)


def plot_schedule(steps: int, *optimizers: Optimizer, **options: Any) -> Any:
    """Plot the learning rate schedule of a run as a Plotly figure.

    Args:
        steps: of the whole run.
        *optimizers: one line for each; without any, one line for that of ``options``.
        **options: settings of the optimizer, as for :func:`fit`.
    """
    from labkit.viz import curves, plotly

    shown = optimizers or (settings(**options)[1].optimizer,)
    labelled = {f"{number}. {each.schedule}": each for number, each in enumerate(shown, 1)}
    return plotly.to_plotly(curves.schedule(labelled, steps))


def largest_batch(
    rows: RowSource,
    model: ModelSource = "bert",
    *,
    limit: int | None = None,
    accept_leakage: bool = False,
    **options: object,
) -> int:
    """Find the largest ``batch_size`` that fits in memory: by formula, then checked by the memory plan of the
    compiler; nothing is executed.

    Args:
        rows, model, accept_leakage, **options: as for :func:`fit`.
        limit: memory in bytes (default: that of the device).

    Raises:
        RunError: not even the smallest batch fits.
    """
    from labkit.profile.cost import largest_batch as find
    from labkit.profile.cost import work_and_plan
    from labkit.train.context import shapes_of

    with _planned(rows, model, accept_leakage, options) as (plan, _folder):
        batch = max(shapes_of(plan.batches, plan.steps), key=lambda shapes: next(iter(shapes.values())).size)
        first = len(next(iter(batch.values())))
        state, each = plan.steps.abstract_state(), plan.batches.batch_size / first  # examples in a row

        def sized(size: int) -> dict[str, Any]:
            rows_of_it = max(1, round(size / each))
            return {name: x.update(shape=(rows_of_it, *x.shape[1:])) for name, x in batch.items()}

        by_formula = plan.steps.activations(batch) is not None
        return find(
            lambda size: plan.steps.lower("train", state, sized(size)), limit,
            (lambda size: work_and_plan(plan.steps, sized(size), state)[1].total) if by_formula else None,
        )  # fmt: skip


@contextlib.contextmanager
def _planned(
    rows: RowSource, model: ModelSource, accept_leakage: bool, options: dict[str, Any]
) -> Iterator[tuple[TrainContext, Path]]:
    """A plan of a run that is not made, and its folder, which goes away."""
    from labkit.train.context import prepare

    rows, experiment = experiment_of(rows, model, accept_leakage, options)
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        rows.save(Path(folder) / "data")
        yield prepare(experiment, Path(folder), lambda message: None), Path(folder)
