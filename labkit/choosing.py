"""Studies: several models on the same rows, by successive halving over runs that are paused and resumed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.core import html
from labkit.core.config import checked_seed, dumps
from labkit.core.errors import ConfigError, RunError
from labkit.data.io.load import load
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.models import models
from labkit.models.base import ModelConfig
from labkit.runs.store import Store
from labkit.search import judged, results
from labkit.search.costs import check_prices
from labkit.search.record import FOLDER, Candidate, StudyRecord
from labkit.search.space import Space
from labkit.search.study import StudyHandle, check_rows, experiment_in
from labkit.tasks import BY_PROBLEM_TYPE, tasks
from labkit.tasks.base import Task
from labkit.tasks.scenario import Scenario
from labkit.train.experiment import Experiment, experiment_of, ready

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from labkit.api import Run
    from labkit.data.io.load import RowSource
    from labkit.evaluate.compare import Comparison
    from labkit.evaluate.select import Sizing
    from labkit.inference.predictor import Predictor
    from labkit.search.results import Result
    from labkit.train.experiment import ModelSource

    CandidateSource = ModelSource | Space | Experiment | tuple[ModelSource, Mapping[str, Any]]


class Study(StudyHandle):
    """Candidates on the same rows: follow, stop, continue, compare and choose."""

    def table(self) -> pd.DataFrame:
        """A row for every candidate, the best on validation first: scores with intervals, the paired gain on
        the leader on test rows, and what each costs; see :func:`labkit.search.results.table_of`."""
        return results.table_of(self, self.results, self.record.settings["prices"])

    @property
    def results(self) -> dict[str, Result]:
        """Finished candidates with their reports on validation and test, by name."""
        return results.results_of(self)

    def choice(self, cost: str | None = None, slack: float = 0.0) -> Sizing:
        """The smallest candidate within one standard error of the best on validation.

        Args:
            cost: "parameters", "flops", "ms_p50", "bytes", "seconds" or "wh_high"; by default that of the study.
            slack: what may be lost to the best beyond a standard error.
        """
        return results.choice_of(self.results, cost or self.record.settings["cost"], slack)

    def test(self, first: str | None = None, second: str | None = None) -> Comparison | pd.DataFrame:
        """Two candidates on the test rows, which no decision has used; by default the choice and the leader."""
        found = self.results
        order = results.ordered(found)
        chosen = first or self.choice().choice
        other = second or next((name for name in order if name != chosen), chosen)
        return results.tested(found, chosen, other)

    def front(self, cost: str | None = None) -> list[str]:
        """Names of the candidates that no other one beats in cost and validation score."""
        return results.front_of(self.results, cost or self.record.settings["cost"])

    def figure(self, cost: str | None = None) -> Any:
        """Validation score against cost with the Pareto front and the choice, as a Plotly figure."""
        from labkit.viz import plotly
        from labkit.viz.study import figure

        return plotly.to_plotly(figure(self, cost or self.record.settings["cost"]))

    def run(self, name: str) -> Run:
        """The run of a candidate."""
        from labkit.api import Run

        return Run(self.store, self.run_of(name).id)

    def add(
        self,
        name: str,
        model: Run | Predictor | str | Path | None = None,
        *,
        answers: Mapping[str, np.ndarray] | None = None,
        **costs: float,
    ) -> None:
        """Add a row of other origin: a quantised, exported or distilled model, or the answers of any other
        system, on the same validation and test rows.

        Args:
            name: of the row.
            model: a run, a predictor, or a folder written by ``run.export``.
            answers: instead of a model, its answers to "validation" and to "test": probabilities
                [n, classes], or numbers [n, k].
            **costs: known costs: ``parameters``, ``flops``, ``bytes``, ``ms_p50``, ``ms_p95``,
                ``wh_1000_low``, ``wh_1000_high``, and ``seconds`` of training.

        Raises:
            ConfigError: the name is taken, or a cost has another name.
            DataError: answers that do not fit the rows.
            RunError: the study is running.
        """
        known = ("parameters", "flops", "bytes", "ms_p50", "ms_p95", "wh_1000_low", "wh_1000_high", "seconds")
        if wrong := [each for each in costs if each not in known]:
            raise ConfigError(_("study.add has no cost {name!r}; it takes {known}."), name=wrong[0],
                              known=", ".join(known))  # fmt: skip
        if self.active:
            raise RunError(
                _("study {name!r} is running: stop it, or add the row when it has ended."), name=self.name
            )
        record = self.record
        if name in {each.name for each in record.candidates}:
            raise ConfigError(_("the study already has a candidate {name!r}."), name=name)
        if (model is None) == (answers is None):
            raise ConfigError(_("study.add takes either a model or its answers."))
        made = Candidate(name, "added", status="finished", seconds=costs.pop("seconds", 0.0))
        if answers is None:
            found = judged.of_predictor(_predictor(model), self.rows, name)
            kept, measured = found.answers, found.costs
        else:
            kept, measured = judged.check_answers(name, answers, self.rows), {}
        made.costs = {**measured, **costs}
        judged.save_answers(self.folder, name, kept)
        record.candidates.append(made)
        record.save(self.folder)

    def delete(self) -> None:
        """Delete the study and its runs. Raises :class:`RunError` while it is worked on."""
        import shutil

        if self.active:
            raise RunError(_("study {name!r} is running: stop it first."), name=self.name)
        for each in self.record.candidates:
            if each.run:
                self.run(each.name).delete()
        shutil.rmtree(self.folder)

    def show(self) -> Any:
        """The live panel of this study."""
        from labkit.app.study import show

        return show(self)

    def summary(self) -> str:
        """How far the study is, who leads, and the choice once there is one, in a sentence each."""
        from labkit.viz.study import sentences

        return "\n".join(sentences(self, "en"))

    def __repr__(self) -> str:
        return f"<study {self.name!r}: {self.status}>\n{self.summary()}"

    def _ipython_display_(self) -> None:
        self.show()

    def _repr_html_(self) -> str:
        from labkit.viz.study import as_html

        return html.page(self.name, as_html(self))


class Studies(Sequence[Study]):
    """The studies of a lab folder, newest first."""

    def __init__(self, store: Store):
        self.store = store
        place = store.folder / FOLDER
        names = [path.name for path in place.iterdir() if path.is_dir()] if place.is_dir() else []
        self._ids = sorted(names, reverse=True)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [Study(self.store, each) for each in self._ids[index]]
        return Study(self.store, index if isinstance(index, str) else self._ids[index])

    def __repr__(self) -> str:
        return "\n".join(f"{each.id}  {each.name}  {each.status}" for each in self) or "no studies yet"


def study(
    rows: RowSource,
    candidates: Mapping[str, CandidateSource] | Sequence[CandidateSource] | Space,
    *,
    budget: float | None = None,
    eta: int = 3,
    finish: int = 3,
    baselines: bool = True,
    cost: str = "parameters",
    prices: Mapping[str, Any] | None = None,
    scenario: Scenario | None = None,
    seed: int = 0,
    name: str = "study",
    folder: str | Path | None = None,
    background: bool | None = None,
    accept_leakage: bool = False,
    **options: object,
) -> Study:
    """Train several models on the same rows, leave the poor ones early, and find the smallest that is good
    enough.

    Successive halving over ordinary runs: at a rung the full-length runs are paused and compared by their best
    validation score so far; one of ``eta`` goes on where it was paused. Nothing is restarted and no schedule
    is shortened, so that a survivor is bit for bit the run that was never paused.

    Args:
        rows: rows from :func:`~labkit.load`, or anything it accepts.
        candidates: name → candidate, or a list: a model as for :func:`~labkit.fit`, a pair (model, settings),
            an :class:`~labkit.train.experiment.Experiment`, or a :class:`~labkit.Space` to draw from.
        budget: minutes of training until the study stops; ``study.resume(budget=…)`` continues it. What is
            left out never depends on time.
        eta: one of so many goes on after a rung.
        finish: so many candidates at least are trained to their end; as many as there are: no halving.
        baselines: add baselines (:mod:`labkit.evaluate.baselines`) as candidates.
        cost: what "small" means: "parameters", "flops", "ms_p50", "bytes", "seconds" or "wh_high".
        prices: what you pay: ``hour`` of this machine or ``kwh`` of electricity, ``hosted`` for 1,000 answers
            of a service, and ``currency``.
        scenario: what the models are for (:class:`labkit.Scenario`): candidates are compared by the expected cost of
            their decisions, those that are too slow are not chosen, no further one is trained once one meets the
            target, and ``budget`` is that of the scenario unless it is given. Default: that of the experiments.
        seed: of the baselines.
        name: of the study.
        folder: the lab folder; by default ``.labkit`` in the working directory.
        background: train in a thread and return at once. Default: True where a front end can show the panel.
        accept_leakage: as for :func:`~labkit.fit`.
        **options: settings that all candidates have, as for :func:`~labkit.fit`.

    Raises:
        ConfigError, DataError: a setting, a candidate or the rows are invalid.
    """
    _check_budget(budget)
    made = create(
        rows, candidates, eta=eta, finish=finish, baselines=baselines, cost=cost, prices=prices,
        scenario=scenario, seed=seed, name=name, folder=folder, accept_leakage=accept_leakage, **options,
    )  # fmt: skip
    if budget is None and made.scenario is not None:
        budget = made.scenario.budget
    if background is None:
        from labkit.core.frontend import is_live

        background = is_live()
    made.resume(budget=budget)
    return made if background else foreground(made)


def create(
    rows: RowSource,
    candidates: Mapping[str, CandidateSource] | Sequence[CandidateSource] | Space,
    *,
    eta: int = 3,
    finish: int = 3,
    baselines: bool = True,
    cost: str = "parameters",
    prices: Mapping[str, Any] | None = None,
    scenario: Scenario | None = None,
    seed: int = 0,
    name: str = "study",
    folder: str | Path | None = None,
    accept_leakage: bool = False,
    **options: object,
) -> Study:
    """Enter a study without starting it; see :func:`study`."""
    for label, value, least in (("eta", eta, 2), ("finish", finish, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(
                _("{name} = {value!r} must be a whole number of {least} or more."), name=label, value=value,
                least=least,
            )  # fmt: skip
    results.check_cost(cost)
    prices, seed = check_prices(prices), checked_seed(seed)
    rows = rows if isinstance(rows, Rows) else load(rows)
    kind = options.get("task") or BY_PROBLEM_TYPE[rows.schema.problem_type]
    task = tasks[kind]() if isinstance(kind, str) else kind
    if task.problem_type is None:
        raise ConfigError(
            _("a study compares models that predict a class, labels or a number; the task {task!r} has none."),
            task=tasks.name_of(task),
        )  # fmt: skip
    rows = ready(rows, task, accept_leakage)
    check_rows(rows)
    scenario = _scenario_of(scenario, candidates)
    if scenario is not None:
        scenario.check_for(task.problem_type, rows.spec.classes)
    given, spaces, experiments = [], [], []
    for label, source in _named(candidates):
        own = dict(options)
        if isinstance(source, Space):
            space = Space(source.model, source.settings, source.samples, source.sampler, source.seed,
                          {**own, **(source.options or {})})  # fmt: skip
            spaces.append(space)
            drawn = [{}] * space.samples if space.sampler == "optuna" else space.draw()
            for number, values in enumerate(drawn, 1):
                each = Candidate(f"{label} {number:02d}", "run", space=len(spaces) - 1, values=values)
                if values:
                    made = experiment_in(rows, space, values, accept_leakage)
                    experiments.append(made.replace(scenario=scenario))
                    each.experiment = dumps(experiments[-1])
                given.append(each)
            continue
        if isinstance(source, Experiment):
            experiment = source
        else:
            model, settings = source if isinstance(source, tuple) else (source, {})
            experiment = experiment_of(rows, model, accept_leakage, {**own, **settings})[1]
        experiments.append(experiment.replace(scenario=scenario))
        given.append(Candidate(label, "run", dumps(experiments[-1])))
    _check_alike(experiments, task)
    if baselines:
        given += [Candidate(each, "baseline") for each in judged.baselines_of(rows, seed)]
    if not given:
        raise ConfigError(_("a study needs candidates: models by name, or a search space."))
    if doubled := [each.name for each in given if [one.name for one in given].count(each.name) > 1]:
        raise ConfigError(_("two candidates are named {name!r}."), name=doubled[0])
    settings = {
        "eta": eta, "finish": finish, "cost": cost, "prices": prices, "seed": seed,
        "accept_leakage": accept_leakage, "scenario": None if scenario is None else scenario.to_dict(),
    }  # fmt: skip
    return Study.create(Store(folder), rows, name, given, spaces, settings)


def foreground(made: Study) -> Study:
    """Wait for a study, with a line for each candidate; an interrupt stops it, and it can be resumed."""
    told: set[tuple[str, str]] = set()
    try:
        while made.active or (made._thread is not None and made._thread.is_alive()):
            _tell(made.record, told)
            time.sleep(0.2)
    except KeyboardInterrupt:
        made.stop()
    made.wait()
    _tell(made.record, told)
    return made


def _tell(record: StudyRecord, told: set[tuple[str, str]]) -> None:
    import sys

    for each in record.candidates:
        if each.status != "waiting" and (each.name, each.status) not in told:
            told.add((each.name, each.status))
            score = "" if each.score is None else f", {record.metric} {each.score:.4f}"
            print(f"{each.name}: {each.status}, step {each.step} of {each.steps}{score}", file=sys.stderr)


def studies(folder: str | Path | None = None) -> Studies:
    """The studies of a lab folder, newest first."""
    return Studies(Store(folder))


def open_study(study: str, folder: str | Path | None = None, spaces: Sequence[Space] = ()) -> Study:
    """Open a study by id, or the newest with this name.

    ``spaces``: its search spaces with the sampler "optuna", in their order, where it is to be resumed.
    """
    return Study(Store(folder), study, spaces)


def _scenario_of(scenario: object, candidates: Any) -> Scenario | None:
    """The scenario of a study: a given one, else that of its experiments. Raises :class:`ConfigError` where these have
    different ones."""
    if scenario is not None:
        return Scenario.given(scenario)
    own = [each.scenario for _name, each in _named(candidates) if isinstance(each, Experiment)]
    if any(each != own[0] for each in own):
        raise ConfigError(_("the experiments have different scenarios: give scenario=… to the study."))
    return own[0] if own else None


def _check_budget(budget: float | None) -> None:
    if budget is not None and not (isinstance(budget, int | float) and budget > 0):
        raise ConfigError(_("budget = {budget!r} must be a number of minutes above 0."), budget=budget)


def _check_alike(experiments: Sequence[Experiment], task: Task) -> None:
    """Raise :class:`ConfigError` where experiments learn another task, or choose their best checkpoint by
    different metrics."""
    for each in experiments:
        if type(each.task) is not type(task):
            raise ConfigError(
                _("the candidates learn different tasks: {first} and {other}."),
                first=tasks.name_of(task), other=tasks.name_of(each.task),
            )  # fmt: skip
    metrics = {each.train.metric for each in experiments}
    if len(metrics) > 1:
        raise ConfigError(
            _("the candidates choose their best checkpoint by different metrics: {metrics}."),
            metrics=", ".join(sorted(each or str(_("the default")) for each in metrics)),
        )  # fmt: skip


def _named(
    candidates: Mapping[str, CandidateSource] | Sequence[CandidateSource] | Space,
) -> Iterator[tuple[str, CandidateSource]]:
    """Every candidate with its name; the architecture and the preset, numbered where several have them."""
    if isinstance(candidates, Space | Experiment | str | ModelConfig):
        candidates = [candidates]
    if isinstance(candidates, Mapping):
        yield from candidates.items()
        return
    names: dict[str, int] = {}
    for each in candidates:
        name = _name(each)
        names[name] = names.get(name, 0) + 1
        yield (name if names[name] == 1 else f"{name} {names[name]}"), each


def _name(source: CandidateSource) -> str:
    if isinstance(source, Space):
        source = source.model
    if isinstance(source, Experiment):
        return source.name or models.name_of(source.model)
    if isinstance(source, tuple):
        return _name(source[0])
    if isinstance(source, str):
        return source
    if isinstance(source, ModelConfig):
        preset = getattr(source, "preset", "") or source.weights or ""
        return f"{models.name_of(source)} {preset}".strip()
    return getattr(source, "__name__", type(source).__name__)


def _predictor(model: Any) -> Predictor:
    from labkit.api import Run
    from labkit.inference.predictor import Predictor

    if isinstance(model, Run):
        return model.predictor
    return model if isinstance(model, Predictor) else Predictor(model)
