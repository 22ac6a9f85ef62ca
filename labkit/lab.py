"""The front door: fit a model, open a run, list the runs."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from labkit.base.config import Config, loads
from labkit.base.errors import ConfigError, DataError, RunError
from labkit.data.rows import Rows
from labkit.data.source import load
from labkit.models import models
from labkit.train.experiment import Data, Experiment, check_reads, ready, settings
from labkit.train.finder import RateSearch as BaseSearch
from labkit.train.finder import find_rate as search
from labkit.train.optim import Optimizer
from labkit.train.run import Run as BaseRun
from labkit.train.store import RunInfo, Store

if TYPE_CHECKING:
    import pandas as pd

    from labkit.judge.report import Report
    from labkit.ship.predictor import Prediction, Predictor
    from labkit.train.estimate import Estimate
    from labkit.train.setup import Plan


class Run(BaseRun):
    """A run with all that can be done with it: watched, steered, judged, used, exported."""

    _predictor: tuple[Any, Predictor] | None = None
    _shown: int | None = None  # the cell that has watched the run and so shows it already

    @property
    def predictor(self) -> Predictor:
        """The trained model. Raises :class:`RunError` while there is none."""
        from labkit.ship.predictor import Predictor

        info = self.info
        if not (info.folder / "model" / "labkit.toml").exists():
            raise RunError(f"run {info.name!r} is {info.status} and has no model yet. `run.wait()` waits for it.")
        stamp = (info.folder / "model" / "model.safetensors").stat().st_mtime_ns
        if self._predictor is None or self._predictor[0] != stamp:
            self._predictor = (stamp, Predictor(info.folder / "model"))
        return self._predictor[1]

    @property
    def rows(self) -> Rows:
        """The rows the run was given: cleaned, and split."""
        return Rows.open(self.info.folder / "data")

    def predict(self, examples: Any, pairs: Sequence[str] | None = None) -> list[Prediction]:
        """Classify new texts, pictures or features."""
        return self.predictor.predict(examples, pairs)

    def evaluate(self, split: str = "test", baselines: bool = True) -> Report:
        """Judge the model on a split: scores with intervals, confusion, mistakes, and the baselines beside it."""
        from labkit.judge.baseline import baselines as make_baselines
        from labkit.judge.report import Report

        rows, predictor = self.rows, self.predictor
        if not len(rows.splits.get(split, ())):
            raise DataError(f"the run has no rows of {split!r}; it has {', '.join(rows.splits)}.")
        part, seen = rows[split], sorted(set(rows["train"]["label"]) - {-1})
        texts = part["text"] if rows.spec.kind == "text" else None
        probability = predictor.judge(part)
        report = Report(predictor.classes, part["label"], probability, texts, part["row"], split=split, seen=seen)
        if baselines:
            report.beside(make_baselines(rows["train"], part, predictor.classes, rows.spec, split=split))
        self.store.update(self.id, summary={f"{split}_{name}": value for name, value in report.scores.items()})
        return report

    def export(self, folder: str | Path) -> Path:
        """Copy the model to a folder of its own, in the Hugging Face layout; :class:`labkit.Predictor` opens it."""
        import shutil

        target = Path(folder)
        if target.exists() and any(target.iterdir()):
            raise ConfigError(f"{str(folder)!r} is not empty; give a new folder.")
        shutil.copytree(self.predictor.folder, target, dirs_exist_ok=True)
        return target

    def show(self) -> Any:
        """The live panel of this run."""
        from labkit.panels.live import show

        return show(self)

    def figure(self) -> Any:
        """Loss and F1 over the steps so far, as a Plotly figure."""
        from labkit.panels.figures import figure

        return figure({self.name: self})

    def _ipython_display_(self) -> None:
        from labkit.panels.frontend import cell

        if self._shown is None or self._shown != cell():
            self.show()


class Runs(Sequence[Run]):
    """The runs of a lab folder, newest first; ``to_pandas()`` compares them."""

    def __init__(self, store: Store):
        self.store = store
        self._infos = store.runs()

    def __len__(self) -> int:
        return len(self._infos)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return Run(self.store, index)
        if isinstance(index, slice):
            return [Run(self.store, info.id) for info in self._infos[index]]
        return Run(self.store, self._infos[index].id)

    def to_pandas(self) -> pd.DataFrame:
        """One row a run: how it ended, its scores, and every setting in which the runs differ."""
        import pandas as pd

        table = [{**_headline(info), **_flat(info)} for info in self._infos]
        frame = pd.DataFrame(table, columns=None if table else list(_headline(RunInfo("", "", Path()))))
        fixed = list(_headline(self._infos[0])) if self._infos else list(frame.columns)
        varied = [name for name in frame.columns if name not in fixed and frame[name].astype(str).nunique() > 1]
        return frame[fixed + varied]

    def figure(self) -> Any:
        """Loss and F1 of all these runs in one Plotly figure, a colour a run."""
        from labkit.panels.figures import figure

        return figure({f"{run.name} ({run.id})": run for run in self})

    def __repr__(self) -> str:
        return self.to_pandas().to_string(index=False, na_rep="") if self._infos else "no runs yet"

    def _repr_html_(self) -> str:
        return self.to_pandas().to_html(index=False, na_rep="") if self._infos else "no runs yet"


def fit(
    rows: Any,
    model: Config | str = "bert",
    *,
    name: str = "",
    folder: str | Path | None = None,
    detach: bool = False,
    background: bool | None = None,
    accept_leakage: bool = False,
    **options: Any,
) -> Run:
    """Train ``model`` on ``rows``.

    Args:
        rows: what :func:`labkit.load` returns or takes. Without a validation or a test split, one is made (10 % each,
            by class).
        model: the config of an architecture, such as ``lk.models["bert"](preset="minilm-l6")``, or its name.
        name: a name for the run.
        folder: the lab folder; by default ``.labkit`` in the working directory.
        detach: train in a process of its own, which outlives this one.
        background: return at once while a thread trains. By default True where a front end can show it live, else
            False: then ``fit`` returns when the run is over, and an interrupt ends the run at the next step.
        accept_leakage: train although more than 1 % of the test or validation rows also stand in the training rows.
        **options: settings of the task (``max_length``, ``class_weights`` …), the training (``epochs``, ``batch_size``,
            ``seed``, ``patience`` …) and the optimizer (``learning_rate``, ``warmup``, ``freeze`` …); see
            :mod:`labkit.train.experiment`.

    Returns:
        The run. As the last line of a notebook cell it shows its live panel.

    Raises:
        ConfigError, DataError: a setting or the rows cannot be used.
        RunError: (in the foreground) the run failed.
    """
    rows, experiment = _experiment(rows, model, accept_leakage, options, name)
    run = Run.create(Store(folder), experiment, rows)
    return _go(run, detach, background)


def estimate(
    rows: Any, model: Config | str = "bert", *, accept_leakage: bool = False, measure: bool = True, **options: Any
) -> Estimate:
    """What training would cost, before any weight exists: parameters, FLOPs, memory, time here and elsewhere.

    Args:
        rows, model, accept_leakage, **options: as for :func:`fit`. The rows are read and tokenised, nothing more.
        measure: measure this machine for two seconds, unless that was done today; otherwise no time is told for it.
    """
    from labkit.train.estimate import estimate as of_steps
    from labkit.train.machine import calibrate
    from labkit.train.setup import shapes_of

    with _planned(rows, model, accept_leakage, options) as plan:
        shapes, each = shapes_of(plan.batches, plan.steps), plan.batches.examples_per_step
        return of_steps(plan.steps, shapes, each, calibrate() if measure else None)


class RateSearch(BaseSearch):
    """What :func:`find_rate` saw, with its picture."""

    def figure(self) -> Any:
        """Loss over the learning rate, as a Plotly figure; the suggested rate is marked."""
        from labkit.panels.figures import rate_search

        return rate_search(self)


def find_rate(
    rows: Any,
    model: Config | str = "bert",
    *,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    accept_leakage: bool = False,
    **options: Any,
) -> RateSearch:
    """Find a learning rate: train up to ``steps`` steps while it rises from ``low`` to ``high``. Nothing is kept.

    Args:
        rows, model, accept_leakage, **options: as for :func:`fit`.

    Returns:
        The rates and losses, a ``suggestion`` and a ``figure()``.
    """
    rows, experiment = _experiment(rows, model, accept_leakage, options)
    found = search(experiment, rows, low, high, steps)
    return RateSearch(found.rates, found.losses)


def plot_schedule(steps: int, *optimizers: Optimizer, **options: Any) -> Any:
    """The learning rate over the steps of a run, before it is begun, as a Plotly figure.

    Args:
        steps: of the whole run.
        *optimizers: one line for each; without any, one line for that of ``options``.
        **options: settings of the optimizer, as for :func:`fit`.
    """
    from labkit.panels.figures import schedule

    shown = optimizers or (settings(**options)[1].optimizer,)
    return schedule({f"{number}. {each.schedule}": each for number, each in enumerate(shown, 1)}, steps)


def largest_batch(
    rows: Any, model: Config | str = "bert", *, limit: int | None = None, accept_leakage: bool = False, **options: Any
) -> int:
    """The largest ``batch_size`` whose step fits the memory, by the compiler's own plan; nothing is run.

    Args:
        rows, model, accept_leakage, **options: as for :func:`fit`.
        limit: memory in bytes; left out, that of the device.

    Raises:
        RunError: not even the smallest batch fits.
    """
    from labkit.train.estimate import largest_batch as find
    from labkit.train.setup import shapes_of

    with _planned(rows, model, accept_leakage, options) as plan:
        batch = max(shapes_of(plan.batches, plan.steps), key=lambda shapes: next(iter(shapes.values())).size)
        first = len(next(iter(batch.values())))
        state, each = plan.steps.abstract_state(), plan.batches.batch_size / first  # examples in a row

        def traced(size: int) -> Any:
            rows_of_it = max(1, round(size / each))
            shapes = {name: x.update(shape=(rows_of_it, *x.shape[1:])) for name, x in batch.items()}
            return plan.steps.trace("train", state, shapes)

        return find(traced, limit)


def _experiment(
    rows: Any, model: Config | str, accept_leakage: bool, options: dict[str, Any], name: str = ""
) -> tuple[Rows, Experiment]:
    rows = rows if isinstance(rows, Rows) else load(rows)
    if isinstance(model, str):
        model = models[model]()
    task, train = settings(**options)
    check_reads(model, rows)
    rows = ready(rows, accept_leakage)
    return rows, Experiment(model=model, data=Data.of(rows, accept_leakage), task=task, train=train, name=name)


@contextlib.contextmanager
def _planned(rows: Any, model: Config | str, accept_leakage: bool, options: dict[str, Any]) -> Iterator[Plan]:
    """A plan of a run that is not made, in a folder that goes away."""
    import tempfile

    from labkit.train.setup import prepare

    rows, experiment = _experiment(rows, model, accept_leakage, options)
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        rows.save(Path(folder) / "data")
        yield prepare(experiment, Path(folder), lambda message: None)


def train(
    experiment: Experiment | str | Path | None = None,
    *,
    resume: str | None = None,
    name: str | None = None,
    folder: str | Path | None = None,
) -> Run:
    """Run an experiment file in the foreground, or take up a run again.

    Args:
        experiment: an :class:`Experiment`, or the path of its TOML file.
        resume: id or name of a run to take up from its newest checkpoint, instead of an experiment.
        name: a name for the run, instead of the one in the file.
        folder: the lab folder.
    """
    store = Store(folder)
    if resume is not None:
        return _go(Run(store, resume), detach=False, background=False)
    if not isinstance(experiment, Experiment):
        if experiment is None:
            raise ConfigError("give an experiment file, or a run to resume.")
        path = Path(experiment)
        if not path.exists():
            raise ConfigError(f"there is no experiment file {str(path)!r}. `run.toml()` gives the text of one.")
        experiment = loads(Experiment, path.read_text(encoding="utf-8"))
    if name:
        experiment = experiment.replace(name=name)
    return _go(Run.create(store, experiment, experiment.data.load()), detach=False, background=False)


def runs(folder: str | Path | None = None) -> Runs:
    """The runs of a lab folder, newest first."""
    return Runs(Store(folder))


def open_run(run: str, folder: str | Path | None = None) -> Run:
    """The run with this id, or the newest of this name."""
    return Run(Store(folder), run)


def predictor(run: str | Path, folder: str | Path | None = None) -> Predictor:
    """The trained model of a run (id or name), or of a folder that ``run.export`` has written."""
    from labkit.ship.predictor import Predictor

    if (Path(run) / "labkit.toml").exists():
        return Predictor(run)
    return open_run(str(run), folder).predictor


def _go(run: Run, detach: bool, background: bool | None) -> Run:
    if background is None:
        from labkit.panels.frontend import is_live

        background = is_live()
    run.start(detach=detach)
    if not (detach or background):
        _foreground(run)
    return run


def _foreground(run: Run) -> None:
    """Show progress until the run is over. The first interrupt (or SIGTERM) stops it at the next step, its model kept;
    a second one goes through."""
    renew, close = _watcher(run)
    with _interrupt_stops(run):
        while not run.info.over:
            renew()
            time.sleep(0.1)
    close()
    run.wait()


def _watcher(run: Run) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What renews and what closes the display of a run in the foreground: a picture in a notebook, else a bar."""
    from labkit.panels.frontend import cell, frontend

    if frontend() == "none":
        from labkit.panels.terminal import ProgressBar

        bar = ProgressBar(run.store, run.id)
        return bar.update, bar.close
    from labkit.panels.picture import PicturePanel

    panel = PicturePanel(run)
    panel.display(follow=False)
    run._shown = cell()
    return panel.refresh, panel.refresh


@contextlib.contextmanager
def _interrupt_stops(run: Run) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, before[signum])
        with contextlib.suppress(RunError):
            run.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _headline(info: RunInfo) -> dict[str, Any]:
    summary = info.summary
    seconds = (info.ended or time.time()) - info.started if info.started else None
    return {
        "id": info.id,
        "name": info.name,
        "status": info.status,
        "step": info.step,
        "steps": info.steps,
        "validation_f1": summary.get("validation_f1"),
        "test_f1": summary.get("test_f1"),
        "parameters": summary.get("parameters"),
        "seconds": None if seconds is None else round(seconds, 1),
    }


def _flat(info: RunInfo) -> dict[str, Any]:
    """Every setting of the run's experiment, the names joined by dots."""
    import tomllib

    found: dict[str, Any] = {}

    def walk(values: dict[str, Any], place: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{place}{key}.")
            else:
                found[place + key] = value

    walk(tomllib.loads(info.experiment), "")
    found.pop("name", None)
    return found
