"""A study under way: it trains its candidates rung by rung, pauses and resumes their runs, and stops anywhere.

 Every decision follows from scores at fixed steps, never from time: a study that was interrupted, by
``stop()``, by its budget or by a kill, ends as one that was not. All candidates are trained in this process,
one after the other, and so with the same number of threads.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from labkit.core import file_lock, safety
from labkit.core.config import dumps
from labkit.core.errors import DataError, LabkitError, RunError
from labkit.core.extras import require
from labkit.data.io.load import open_rows
from labkit.data.rows import Rows
from labkit.evaluate.decision import decision_of
from labkit.i18n import _
from labkit.models.base import ModelConfig
from labkit.profile.energy import Energy, EnergyMeter
from labkit.profile.hardware import cores
from labkit.runs.handle import RunHandle
from labkit.runs.store import Store
from labkit.search import halving, judged
from labkit.search.costs import cost_of
from labkit.search.record import FOLDER, Candidate, StudyRecord
from labkit.search.space import Space
from labkit.tasks.scenario import Scenario
from labkit.train.cost_preview import CostPreviews
from labkit.train.experiment import Experiment, experiment_of, own_experiment
from labkit.train.selection import best_of

#: Seconds between two looks at a run.
LOOK = 0.05
#: Statuses of candidates that are not compared any more.
OUT = ("pruned", "failed")
STOP, LOCK = "stop", "lock"


class Interrupted(Exception):
    """The study was stopped, or its budget is used up."""


class StudyHandle:
    """A study of a lab folder, past or present.

    Args:
        store: the run store of its runs.
        study_id: its id, or its name.
        spaces: the search spaces of candidates whose settings are not drawn yet, in their order.
    """

    def __init__(self, store: Store, study_id: str, spaces: Sequence[Space] = ()):
        self.store, self.spaces = store, list(spaces)
        self.id = _find(store, study_id)
        self.folder = store.folder / FOLDER / self.id
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.reports: dict[str, Any] = {}  # of candidates that have answered
        self._rows: Rows | None = None

    @classmethod
    def create(
        cls, store: Store, rows: Rows, name: str, candidates: Sequence[Candidate], spaces: Sequence[Space],
        settings: Mapping[str, Any],
    ) -> Self:  # fmt: skip
        """Enter a new study with its rows; it does nothing until it is started."""
        require("train")
        study_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        folder = store.folder / FOLDER / study_id
        folder.mkdir(parents=True)
        rows.save(folder / "data")
        count = sum(each.kind == "run" for each in candidates)
        shares = halving.fractions(count, settings["eta"], settings["finish"])
        made = StudyRecord(
            study_id, safety.title(name), time.time(), dict(settings), list(candidates), shares
        )
        made.save(folder)
        return cls(store, study_id, spaces)

    # --- watching ---------------------------------------------------------------------------------------------

    @property
    def record(self) -> StudyRecord:
        """What the study knows now."""
        return StudyRecord.load(self.folder)

    @property
    def name(self) -> str:
        """The name given to the study."""
        return self.record.name

    @property
    def active(self) -> bool:
        """Whether a process works on it now."""
        return not file_lock.is_free(self.folder / LOCK)

    @property
    def status(self) -> str:
        """created, running, stopped, finished, failed; or lost: its process was killed."""
        status = self.record.status
        return "lost" if status == "running" and not self.active else status

    @property
    def rows(self) -> Rows:
        """The rows of the study, split."""
        if self._rows is None:
            self._rows = open_rows(self.folder / "data")
        return self._rows

    @property
    def scenario(self) -> Scenario | None:
        """What the models are for, if that was given."""
        given = self.record.settings.get("scenario")
        return None if given is None else Scenario.from_dict(given, "scenario")

    @property
    def leader(self) -> str | None:
        """The candidate with the best validation score, of those that have come farthest; None without one."""
        record = self.record
        scored = {
            each.name: each for each in record.candidates
            if each.kind == "run" and each.score is not None and each.status not in OUT
        }  # fmt: skip
        if not scored:
            return None
        farthest = max(max(map(int, each.scores)) for each in scored.values())
        scores = {name: each.score for name, each in scored.items() if str(farthest) in each.scores}
        return halving.ranked(scores, record.sign)[0]

    def run_of(self, name: str) -> RunHandle:
        """The run of a candidate."""
        found = {each.name: each for each in self.record.candidates}
        if name not in found or not found[name].run:
            raise RunError(_("candidate {name!r} has no run."), name=name)
        return RunHandle(self.store, found[name].run)

    # --- steering ---------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the study before its next step, wherever it is; :meth:`resume` continues it."""
        (self.folder / STOP).touch()

    def wait(self, timeout: float | None = None) -> Self:
        """Block until the study is over or stopped.

        Raises:
            TimeoutError: ``timeout`` seconds have passed; the study goes on.
            LabkitError: what ended the study.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while self.active or (self._thread is not None and self._thread.is_alive()):
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"study {self.id} is still running after {timeout} s; it goes on.")
            time.sleep(LOOK)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self

    def resume(self, *, budget: float | None = None) -> Self:
        """Continue in a thread, from where the study is.

        Args:
            budget: minutes of training that it may use from now on; None: no limit.

        Raises:
            RunError: it is being worked on, in this process or another.
        """
        if self.active:
            raise RunError(_("study {name!r} is already running."), name=self.name)
        self._error = None
        self._thread = threading.Thread(target=self._threaded, args=(budget,), name=f"labkit study {self.id}",
                                        daemon=True)  # fmt: skip
        self._thread.start()
        return self

    def _threaded(self, budget: float | None) -> None:
        try:
            self.work(budget)
        except BaseException as error:
            self._error = error

    def work(self, budget: float | None = None) -> None:
        """Continue in this thread, until the study is finished or stopped."""
        try:
            lock = contextlib.ExitStack()
            lock.enter_context(file_lock.exclusive(self.folder / LOCK, 0.0))
        except OSError:
            raise RunError(_("study {name!r} is already running."), name=self.name) from None
        with lock:
            (self.folder / STOP).unlink(missing_ok=True)
            StudySession(self, budget).run()


class StudySession:
    """One piece of work on a study: it holds the record, and writes it after every change."""

    def __init__(self, study: StudyHandle, budget: float | None):
        self.study, self.store, self.folder = study, study.store, study.folder
        self.record = study.record
        self.until = None if budget is None else 60 * budget
        self.used = 0.0  # seconds of training in this session
        self.previews: CostPreviews | None = None
        self.scenario = study.scenario

    def run(self) -> None:
        """Work until the study is finished or stopped, and say so in its file."""
        threads = cores()
        if self.record.threads not in (0, threads):
            self.record.notes.append(
                _("continued with {threads} threads instead of {before}: sums may differ in their last bits.",
                  threads=threads, before=self.record.threads)
            )  # fmt: skip
        self.record.threads = threads
        self._save(status="running", message="")
        try:
            if self.scenario is not None and self.scenario.target is not None:
                self._judge(("baseline",))  # one of them may be good enough
            if not self._target_met():
                self._rungs()
            self._judge()
            self._save(status="finished", message="")
        except Interrupted as stop:
            self._save(status="stopped", message=str(stop))
        except BaseException as error:
            self._save(status="failed", message=f"{type(error).__name__}: {error}"[:500])
            raise
        finally:
            if self.previews is not None:
                self.previews.close()

    def _save(self, **values: str) -> None:
        for name, value in values.items():
            setattr(self.record, name, value)
        self.record.save(self.folder)

    def _check(self, training: float = 0.0) -> None:
        """Raise :class:`Interrupted` where the study is to stop; ``training``: seconds of the run under way."""
        if (self.folder / STOP).exists():
            raise Interrupted("")
        if self.until is not None and self.used + training > self.until:
            raise Interrupted(_("the budget of {minutes:g} minutes is used up.", minutes=self.until / 60))

    # --- rungs ------------------------------------------------------------------------------------------------

    def _rungs(self) -> None:
        for rung in range(self.record.rung, len(self.record.shares) + 1):
            for candidate in self._alive():
                if str(rung) not in candidate.scores:
                    self._advance(candidate, rung)
                if rung == len(self.record.shares) and self._target_met(candidate):
                    return
            if rung < len(self.record.shares):
                self._prune(rung)
            self._save()

    def _alive(self) -> list[Candidate]:
        return [each for each in self.record.candidates if each.kind == "run" and each.status not in OUT]

    def _prune(self, rung: int) -> None:
        """Leave out the candidates that do not go on after this rung."""
        alive = {each.name: each for each in self._alive()}
        settings = self.record.settings
        count = halving.survivors(self._before(rung), settings["eta"], settings["finish"])
        scores = {name: each.scores.get(str(rung)) for name, each in alive.items()}
        for name in halving.ranked(scores, self.record.sign)[count:]:
            alive[name].status = "pruned"
        self.record.rung = rung + 1

    def _before(self, rung: int) -> int:
        """How many candidates there were to be before this rung; failed ones leave their place to others."""
        count = sum(each.kind == "run" for each in self.record.candidates)
        for _unused in range(rung):
            count = halving.survivors(count, self.record.settings["eta"], self.record.settings["finish"])
        return count

    def _advance(self, candidate: Candidate, rung: int) -> None:
        """Train a candidate to a rung, and note its score there."""
        self._check()
        try:
            run = self._run_of(candidate)
            target = candidate.rungs[rung] if rung < len(candidate.rungs) else None
            self._train(candidate, run, target)
        except (LabkitError, ArithmeticError, MemoryError) as error:
            candidate.status, candidate.error = "failed", str(error)
            self._save()
            return
        info = run.info
        candidate.steps, candidate.step = info.steps, info.step
        self.record.metric = self.record.metric or str(info.summary.get("metric") or "f1")
        candidate.scores[str(rung)] = self._score(run, target)
        candidate.status = "finished" if info.status == "finished" else "paused"
        candidate.costs["parameters"] = info.summary.get("parameters")
        candidate.costs["trainable"] = info.summary.get("trainable")
        self._save()

    def _run_of(self, candidate: Candidate) -> RunHandle:
        if candidate.run:
            return RunHandle(self.store, candidate.run)
        if not candidate.experiment:
            self._ask(candidate)
        experiment = self._planned(candidate, own_experiment(candidate.experiment))
        name = f"{self.record.name}: {candidate.name}"
        run = RunHandle.create(self.store, experiment.replace(name=safety.title(name)), self.study.rows)
        candidate.run, candidate.experiment = run.id, dumps(experiment)
        self._save()
        return run

    def _planned(self, candidate: Candidate, experiment: Experiment) -> Experiment:
        """The experiment with evaluations where the study compares it; its costs and rungs are noted."""
        rows = self.study.rows
        experiment = experiment.for_rows(rows)
        if self.previews is None:
            self.previews = CostPreviews()
        plan = self.previews(rows, experiment)
        candidate.costs |= cost_of(plan)
        candidate.steps = plan.steps
        every = experiment.train.evaluate_every or plan.plan.batches.steps_per_epoch
        candidate.rungs, found = halving.rung_steps(self.record.shares, plan.steps, every)
        if found != every:
            experiment = experiment.replace(train=experiment.train.replace(evaluate_every=found))
        return experiment

    def _ask(self, candidate: Candidate) -> None:
        """Let the sampler of its space propose the settings of a candidate."""
        place = candidate.space or 0
        if place >= len(self.study.spaces):
            raise RunError(
                _("the search space of {name!r} is not known in this process: give it again, "
                  "lk.open_study(…, spaces=[…])."), name=candidate.name,
            )  # fmt: skip
        space = self.study.spaces[place]
        given = self.record.settings["accept_leakage"]
        others = [each for each in self.record.candidates if each.space == place]
        sign = self.record.sign
        known = [
            (each.values, None if (score := each.scores.get("0")) is None else sign * score)
            for each in others[: others.index(candidate)]
        ]
        candidate.values = space.ask(len(known), known)
        made = experiment_in(self.study.rows, space, candidate.values, given)
        candidate.experiment = dumps(made.replace(scenario=self.scenario))

    def _train(self, candidate: Candidate, run: RunHandle, target: int | None) -> None:
        """Work on a run until its rung, or to its end.

        Raises:
            Interrupted: the study was stopped; the run has its checkpoint.
            RunError: the run failed.
        """
        info = run.info
        if info.status == "finished" or (target is not None and self._is_at(run, target)):
            return
        candidate.status = "training"
        self._save()
        begin, stop, suspended = time.monotonic(), None, False
        meter = EnergyMeter()
        with meter:
            run.start(until=target)
            while not (info := run.info).over:
                if stop is None:
                    try:
                        self._check(time.monotonic() - begin)
                    except Interrupted as error:
                        stop = error
                if stop is not None and not suspended:
                    with contextlib.suppress(RunError):  # it has just ended
                        run.suspend()
                    suspended = True
                time.sleep(LOOK)
        seconds = time.monotonic() - begin
        self.used += seconds
        candidate.seconds += seconds
        candidate.energy = _added(candidate.energy, meter.energy)
        candidate.step, candidate.steps = info.step, info.steps
        if info.status in ("failed", "lost"):
            cure = _(" {cure}", cure=info.cure) if info.cure else ""
            error = info.error or info.status
            raise RunError(_("run {run!r} failed: {error}{cure}"), run=run.name, error=error, cure=cure)
        if info.status != "finished" and not (target is not None and self._is_at(run, target)):
            candidate.status = "paused"
            raise stop or Interrupted(_("run {run!r} was stopped.", run=run.name))
        if stop is not None:  # the rung was reached all the same
            self._keep(candidate, run, target)
            raise stop

    def _keep(self, candidate: Candidate, run: RunHandle, target: int | None) -> None:
        candidate.status = "finished" if run.info.status == "finished" else "paused"

    def _is_at(self, run: RunHandle, target: int) -> bool:
        """Whether a run has been evaluated at a rung, and can go on from there."""
        info = run.info
        saved = info.summary.get("saved_step")
        evaluated = {record.step for record in run.store.records(run.id, split="validation")}
        return (
            info.over and saved is not None and saved >= target and any(step >= target for step in evaluated)
        )

    def _score(self, run: RunHandle, target: int | None) -> float | None:
        """The best validation score of a run up to a rung."""
        metric, sign = self.record.metric, self.record.sign
        found: dict[int, dict[str, float]] = {}
        for record in run.store.records(run.id, split="validation"):
            if target is None or record.step <= target:
                found.setdefault(record.step, {})[record.name] = record.value
        best = best_of(found, metric, sign)
        return None if best is None else found[best][metric]

    # --- the end ----------------------------------------------------------------------------------------------

    def _judge(self, kinds: Sequence[str] = ("run", "baseline")) -> None:
        """Let every candidate of these kinds that has come to its end answer the validation and the test rows, and
        measure what an answer costs."""
        for candidate in self.record.candidates:
            if candidate.kind in kinds and candidate.status not in OUT:
                self._judge_one(candidate)

    def _judge_one(self, candidate: Candidate) -> None:
        if judged.has_answers(self.folder, candidate.name):
            return
        self._check()
        if candidate.kind == "run":
            found = judged.of_run(RunHandle(self.store, candidate.run), self.study.rows)
        else:
            found = judged.of_baseline(candidate.name, self.study.rows, self.record.settings["seed"])
            if found is None:
                candidate.status = "failed"
                candidate.error = str(_("there is nothing to learn from in these rows."))
                return
            candidate.seconds, candidate.energy = found.seconds, list(found.energy)
        judged.save_answers(self.folder, candidate.name, found.answers)
        candidate.costs |= found.costs
        candidate.status = "finished"
        self._save()

    def _target_met(self, finished: Candidate | None = None) -> bool:
        """Whether a candidate is good enough by the target of the scenario, on validation rows: no further one is
        trained then. ``finished``: one that has just come to its end; default: all that have answered."""
        if self.scenario is None or self.scenario.target is None:
            return False
        if finished is not None and finished.status == "finished":
            self._judge_one(finished)
        for each in self.record.candidates if finished is None else [finished]:
            if not judged.has_answers(self.folder, each.name):
                continue
            answers = judged.load_answers(self.folder, each.name)["validation"]
            task = own_experiment(each.experiment).task if each.experiment else None
            report = judged.report_of(self.study.rows, "validation", answers, task)
            if not decision_of(self.scenario, report, report, each.costs.get("ms_p95")).enough:
                continue
            for other in self._alive():
                if other.status != "finished":
                    other.status = "pruned"
            self.record.notes.append(
                _("{name} meets the target of the scenario: no further model is trained.", name=each.name)
            )
            self._save()
            return True
        return False


def experiment_in(rows: Rows, space: Space, values: Mapping[str, Any], accept_leakage: bool) -> Experiment:
    """The experiment of one point of a search space. A name that the model has is a setting of the model."""
    from labkit.models import models

    model = space.model
    if isinstance(model, str):
        kind = models[model]
        own = {name: value for name, value in values.items() if name in kind.__dataclass_fields__}
        model = kind(**own)
    elif isinstance(model, ModelConfig):
        own = {name: value for name, value in values.items() if name in type(model).__dataclass_fields__}
        model = model.replace(**own) if own else model
    else:
        own = {}
    rest = {name: value for name, value in values.items() if name not in own}
    return experiment_of(rows, model, accept_leakage, {**(space.options or {}), **rest})[1]


def _added(energy: Sequence[Any], more: Energy) -> list[Any]:
    found = Energy(*energy) + more
    return [found.low, found.high, found.source]


def _find(store: Store, study: str) -> str:
    """The id of a study by id, or of the newest with this name."""
    place = store.folder / FOLDER
    names = [path.name for path in place.iterdir() if path.is_dir()] if place.is_dir() else []
    if study in names:
        return study
    for name in sorted(names, reverse=True):
        with contextlib.suppress(RunError):
            if StudyRecord.load(place / name).name == study:
                return name
    raise RunError(_("no study {study!r} in this lab folder."), study=study)


def check_rows(rows: Rows) -> None:
    """Raise :class:`DataError` where a split is empty: candidates are compared on validation, and tested on
    test."""
    for split in ("train", "validation", "test"):
        if not len(rows.splits.get(split, ())):
            raise DataError(_("a study needs rows of {split!r}; there are none."), split=split)


def enter(
    store: Store, rows: Rows, name: str, experiments: Mapping[str, Experiment], accept_leakage: bool = False,
    cost: str = "parameters", eta: int = 3, finish: int = 3, seed: int = 0,
) -> StudyHandle:  # fmt: skip
    """A new study of experiments on prepared rows, with baselines; it does nothing until it is started. What the models
    are for is that of the experiments."""
    check_rows(rows)
    scenario = next((each.scenario for each in experiments.values()), None)
    if scenario is not None:
        scenario.check_for(rows.spec.problem_type, rows.spec.classes)
    made = [Candidate(label, "run", dumps(each)) for label, each in experiments.items()]
    made += [Candidate(each, "baseline") for each in judged.baselines_of(rows, seed)]
    settings = {
        "eta": eta, "finish": finish, "cost": cost, "prices": {}, "seed": seed, "accept_leakage": accept_leakage,
        "scenario": None if scenario is None else scenario.to_dict(),
    }  # fmt: skip
    return StudyHandle.create(store, rows, name, made, [], settings)


def latest(store: Store) -> StudyHandle | None:
    """The newest study of a lab folder; None without one that can be read."""
    place = store.folder / FOLDER
    names = (
        sorted((path.name for path in place.iterdir() if path.is_dir()), reverse=True)
        if place.is_dir()
        else []
    )
    for name in names:
        with contextlib.suppress(RunError):
            StudyRecord.load(place / name)
            return StudyHandle(store, name)
    return None
