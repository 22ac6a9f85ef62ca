"""Training loop: commands → batch → step → deferred read → report → evaluate → save, in this order.

 :func:`work` takes a run from its folder to its end, or onward from its newest checkpoint. Thread, detached
worker and command line all call it; they are informed only through the run store.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from labkit.core.cache import write_atomic
from labkit.core.config import dumps
from labkit.core.errors import LabkitError, RunError
from labkit.core.shutdown import check_interpreter
from labkit.data.arrow import numbers
from labkit.data.io.load import open_rows
from labkit.i18n import _
from labkit.profile.energy import EnergyMeter, added_to
from labkit.profile.hardware import memory_in_use
from labkit.tasks import LOWER
from labkit.train.advice import advise
from labkit.train.callback_specs import callbacks_of
from labkit.train.callback_states import FILE
from labkit.train.callbacks import Callback, CallbackList, EarlyStopping, Progress, RunLog
from labkit.train.checkpoint import Checkpoints, checkpoint_error, writer_lock
from labkit.train.compilation import use_compilation_cache
from labkit.train.context import prepare, save_model, shapes_of
from labkit.train.experiment import Experiment, own_experiment
from labkit.train.failure import failure_fields, is_process_ending
from labkit.train.logger import Logger, Record
from labkit.train.outcome import outcome_of
from labkit.train.overrides import Overrides
from labkit.train.prefetch import MultiBatch, Prefetcher
from labkit.train.process_group import SINGLE, ProcessGroup
from labkit.train.profile_trace import FOLDER, ProfileTrace
from labkit.train.provenance import Provenance
from labkit.train.selection import best_of
from labkit.train.step import TrainState
from labkit.train.step_health import Health, NotFinite, blamed, is_finite, listed

#: Seconds between two looks at the clock's business: flushing records, heartbeat.
FLUSH = 0.25
#: Seconds between two records of the machine, speed and memory; where training halts, one comes before.
WATCH = 1.0
#: Calls of the step that may be under way on the device before the host waits for the oldest.
AHEAD = 2
#: Seconds that one call may take where it makes several updates: commands are obeyed between calls.
CALL = 0.05
#: Seconds after which a checkpoint that could not be saved is tried again.
AGAIN = 30.0
#: The same for a run that is held until it can be.
HOLD = 2.0


class Stopped(Exception):
    """Somebody asked the run to stop."""


class Suspended(Stopped):
    """Somebody asked to end this session with a checkpoint and nothing else."""


def work(
    logger: Logger,
    group: ProcessGroup = SINGLE,
    callbacks: Sequence[Callback] | None = None,
    until: int | None = None,
) -> None:
    """Train a run to its end and log its status; nothing is raised for a failure of the run itself.

    Args:
        logger: of the run.
        group: the processes that work on it together; each calls this.
        callbacks: called by the loop; None: those of the experiment.
        until: the session stops after the first evaluation at or after this step.

    Raises:
        RunError: another process works on this run.
    """
    run, folder = logger.run, logger.folder
    with writer_lock(folder) if group.lead else contextlib.nullcontext():
        begun = {
            "started": run.started or time.time(),
            "ended": None,
            "error": "",
            "traceback": "",
            "cure": "",
        }
        logger.update(status="preparing", **begun)
        loop = None
        try:
            use_compilation_cache()
            loop = TrainingLoop(logger, own_experiment(run.experiment), group, callbacks, until)
            end = {"status": loop.run(), "message": ""}
        except Exception as error:
            if is_process_ending(error):
                return  # whoever looks finds that the process is gone, and the run interrupted
            if group.count > 1 and not isinstance(error, LabkitError):
                raise  # the others wait for this process: it ends, and all begin again
            size = (loop.train.batch_size, loop.shape) if loop else (0, "")
            end = {"status": "failed", **failure_fields(error, *size, logger.cure(error))}
        logger.flush(**end, ended=time.time())


class TrainingLoop:
    def __init__(
        self,
        logger: Logger,
        experiment: Experiment,
        group: ProcessGroup = SINGLE,
        callbacks: Sequence[Callback] | None = None,
        until: int | None = None,
    ):
        self.logger, self.experiment, self.group, self.until = logger, experiment, group, until
        self.own = callbacks_of(experiment.callbacks) if callbacks is None else callbacks
        self.train, self.folder = experiment.train, logger.folder
        self.save_error = ""  # why the last checkpoint is not there
        self.pending: list[
            tuple[int, int, dict[str, Any]]
        ] = []  # step reached, updates of the call, what it told
        self.pace = 1  # updates in one call; adapted to their speed where the compiled step makes several
        self.flushed = self.saved = time.monotonic()
        self.clock = self.watched = (
            time.monotonic(),
            0,
        )  # since when, and from which step, the speed is measured
        self.step = 0
        self.shape = ""  # of the last batch
        self.due = False  # whether it is time for a checkpoint
        self.stopping = False  # whether a callback has ended training
        self.named = 0  # checkpoints set aside that the store knows of
        self.overrides = Overrides(logger.settings())
        self.rate: float | None = None  # the learning rate by command that the state has

    def run(self) -> str:
        """Prepare, train and keep the model; returns the final status."""
        before = self.logger.run.summary
        self.setup = prepare(
            self.experiment,
            self.folder,
            lambda message: self._say("preparing", message),
            before.get("parts"),
            self.group,
        )
        if self.setup.experiment != self.experiment:  # what was left to the data is decided
            self.experiment, self.train = self.setup.experiment, self.setup.experiment.train
            self.logger.update(experiment=dumps(self.experiment))
            if self.group.lead:
                write_atomic(self.folder / "experiment.toml", dumps(self.experiment))
        self.steps, self.batches = self.setup.steps, self.setup.batches
        self.total = self.steps.total
        self.every = self.train.evaluate_every or self.batches.steps_per_epoch
        self.logger.log(steps=self.total, epochs=self.train.epochs, summary=self.setup.summary)
        self.provenance = Provenance.of(
            self.folder,
            self.logger.id,
            self.experiment,
            self.setup.summary,
            self.setup.processor.tokenizer,
            self.group,
        )
        self.checkpoints = Checkpoints(self.folder / "checkpoints", self.group, self.provenance)
        self.checkpoints.damaged += before.get("quarantined", [])
        self.progress = Progress(self.folder, self.total, self.group.lead, 0, self._record)
        early = EarlyStopping(self.train.patience, *self._metric())
        private = [] if self.setup.private is None else [self.setup.private.log()]
        self.callbacks = CallbackList([RunLog(), early, *private, *self.own], self.progress)
        meter = EnergyMeter()
        meter.__enter__()
        try:
            self._begin(before.get("saved_step"))
            self.callbacks.begin()
            self.stopping, ends = self.group.broadcast(self.progress.stopping), True
            try:
                self._compile()
                self._loop()
                status = "finished"
            except Stopped as stop:
                status, ends = "stopped", not isinstance(stop, Suspended)
            except NotFinite as error:
                raise self._rolled_back(error) from error
            if ends:
                self._end()
            else:
                self.save()
                self._settle()
            self.callbacks.end(status)
            return status
        except BaseException:
            with contextlib.suppress(RunError):  # the first error is the one to report
                self.callbacks.end("failed")
            raise
        finally:
            meter.__exit__()
            self.logger.log(summary={"energy": added_to(before.get("energy"), meter.energy)})
            self._flush(force=True)  # after an error too: the last records say what led to it
            self.checkpoints.close()

    # --- begin and end ----------------------------------------------------------------------------------------

    def _begin(self, saved: int | None) -> None:
        """Start from the newest sound checkpoint, or from the prepared parameters where none was ever saved.

        ``saved`` is the step that was last saved as far as the store knows. What differs from an
        uninterrupted run is in the warnings of the run before the first step is compiled.

        Raises:
            RunError: there are checkpoints, and none can be used.
        """
        self.state = self.steps.state(self.setup.weights(), self.train.seed)
        if self.setup.private is not None:
            self.state.key = self.setup.private.key()
        set_aside = len(self.checkpoints.damaged)
        found = self.checkpoints.newest() if self.group.lead else None
        unusable = self.checkpoints.damaged[set_aside:] if found is None else []
        step, problem = self.group.broadcast([found, "; ".join(unusable)[:300]])
        self._tell_damage()
        if problem:
            raise RunError(
                _(
                    "no checkpoint of this run is usable: {problem}. They were moved to the folder "
                    "'quarantine'. Restore an intact one, or resume again to train from step 0."),
                problem=problem,
            )  # fmt: skip
        facts = None if step is None else self.checkpoints.facts(step)
        self.provenance.begin(step or 0, facts)
        self.setup.summary["warnings"] += self.provenance.notes
        if saved is not None and saved > (step or 0):
            self.setup.summary["warnings"].append(
                _(
                    "The checkpoint of step {saved} is missing: the run continues from step {step}.",
                    saved=saved,
                    step=step or 0,
                )
            )
        self._warn()
        if step is not None:
            self.state = self.checkpoints.restore(step, self.state)
            self.step = self.progress.step = step
            self.logger.log(summary={"saved_step": step})
            self._load_callbacks(step)
        self.health = Health(int(self.state.skipped))
        self.evaluated = self.step if self.step and self.step % self.every == 0 else -1
        self.logger.forget_after(self.step)
        self._set_rate()

    def _load_callbacks(self, step: int) -> None:
        """Give the callbacks the states that the checkpoint of ``step`` has of them."""
        for name in self.callbacks.load(self.checkpoints.file(step, FILE)):
            text = _(
                "The checkpoint of step {step} holds a state of the callback {name}, which this session lacks."
            )
            self.setup.summary["warnings"].append(text.fill(step=step, name=name))
            self._warn()

    def _record(self, step: int, split: str, name: str, value: float) -> None:
        self.logger.records.append((step, split, name, value))

    def _compile(self) -> None:
        """Compile every shape before the first step, so that nothing is compiled in the loop."""
        steps, most = self.steps, self.setup.most
        kinds = shapes_of(self.batches, steps, most)
        for number, batch in enumerate(kinds, 1):
            shape = " × ".join(map(str, self.batches.shapes[number - 1]))
            self._say(
                "compiling",
                _("step {number} of {n_kinds}: {shape}", number=number, n_kinds=len(kinds), shape=shape),
            )
            self._obey()
            if most == 1:
                steps.compile("train", self.state, batch)
            else:
                steps.compile("multi_step", self.state, batch, jax.ShapeDtypeStruct((), np.int32))
        for batch in shapes_of(self.setup.validation, steps):
            self._obey()
            steps.compile("evaluate", self.state.params, steps.replicate(steps.empty()), batch)
        self.group.broadcast(
            None
        )  # the slowest compiler is waited for here, where nobody takes it for hanging
        seconds = round(steps.compile_seconds, 3)
        summary = {"compilations_from_cache": steps.from_cache, "compiled_because": steps.reasons}
        self.logger.log(compilations=steps.compilations, compile_seconds=seconds, summary=summary)

    def _end(self) -> None:
        """Keep the newest state, and write the model of the best one where the predictor finds it."""
        self._read(0)
        if self.step and self.evaluated != self.step:
            self._evaluate()
        self.logger.flush(status="saving", message=_("the last checkpoint and the model"))
        self.save()
        self._settle()
        params, step = self.state.params, self.step
        if (best := self.group.broadcast(self._better())) is not None:
            params, step = self.checkpoints.restore(best, self.state).params, best
        params = self.steps.on_host(params)
        if self.group.lead:
            place = self.folder / "model"
            self.logger.with_room(
                lambda: save_model(self.setup, params, place, run=self.logger.id, step=step)
            )
        told = {} if self.setup.private is None else {"privacy": self.setup.private.summary(step)}
        self.logger.log(summary={"model_step": step, **told, **self._scores(step), **self._outcome(step)})

    def _outcome(self, step: int) -> dict[str, Any]:
        """What the run says of itself at its end: truncation, and a model of ``step`` that is worth nothing."""
        told = self.logger.recorded("train")
        losses = [(record.step, record.value) for record in told if record.name == "loss"]
        summary = self.setup.summary
        values = [value for _, value in losses]
        found = outcome_of(self.experiment, summary, values, self._evaluations().get(step, {}))
        summary["warnings"] += found.warnings
        self._warn()
        validation = [(record.step, record.value) for record in self._validation() if record.name == "loss"]
        rate = self.train.optimizer.learning_rate
        advice = advise(losses, validation, self.batches.steps_per_epoch, rate)
        return {"cause": found.cause, "advice": [] if found.warnings else advice}

    def _better(self) -> int | None:
        """The step of the best evaluation, where that is the one to keep, is not this one, and is still
        whole."""
        keep = self.overrides.keep or self.train.keep
        if self.setup.private is not None:
            return None  # the choice would not be covered by epsilon
        best = self._best() if keep == "best" and self.group.lead else None
        if not best or best[0] == self.step:
            return None
        if best[0] not in self.checkpoints.steps:
            self.setup.summary["warnings"].append(
                _(
                    "The checkpoint of the best evaluation (step {best}) is missing: the model is that of step {step}.",
                    best=best[0],
                    step=self.step,
                )
            )
            return None
        sound = self.checkpoints.sound(best[0])
        self._tell_damage()
        return best[0] if sound else None

    def _rolled_back(self, error: NotFinite) -> RunError:
        """Go back to the newest checkpoint of finite numbers, and say which rows the steps had."""
        self._settle()
        while (
            step := self.group.broadcast(self.checkpoints.newest() if self.group.lead else None)
        ) is not None:
            if is_finite(state := self.checkpoints.restore(step, self.state)):
                self.state, self.step, self.pending = state, step, []
                break
            if self.group.lead:
                self.checkpoints.set_aside(step, _("it contains values that are not finite"))
        self._tell_damage()
        self.logger.note(summary={"saved_step": step})
        examples = {str(step): self._rows_of(step) for step in error.steps}
        back = (
            _("the run was restored to step {step}", step=step)
            if step is not None
            else _("there is no checkpoint to restore")
        )
        rows = listed(sorted({row for rows in examples.values() for row in rows}))
        self.logger.log(step=self.step, summary={"not_finite": examples, "rolled_back_to": step})
        return RunError(
            _(
                "{error} The batches contained the rows {rows}; {back}. Lower the learning rate "
                "(currently {learning_rate}) and restart, or check these rows."),
            error=error, rows=rows, back=back, learning_rate=self.train.optimizer.learning_rate,
        )  # fmt: skip

    def _rows_of(self, step: int) -> list[int]:
        """The rows that the update to ``step`` learnt from, as numbered in their source; of windows, their
        places."""
        rows = None
        if self.experiment.task.example_format.by_row:
            rows = numbers(open_rows(self.folder / "data")["train"], "row", np.int64)
        return blamed(self.batches.at(step - 1), rows)

    # --- the loop ---------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        self._resume_clock()
        trace = ProfileTrace(self.folder / FOLDER, self.train.profile)
        with trace, Prefetcher(self.batches, self.steps, self.setup.most) as feed:
            count = self._portion(self.step)
            while self.step < self.total and not self.stopping:
                self._obey()
                with jax.transfer_guard("disallow"):
                    then = self._portion(self.step + count)
                    portion = feed.take(self.step, count, then)
                    trace.before()
                    self.state, told = self.run_steps(portion)
                    trace.after(portion.steps, self.state)
                    self.step += portion.steps
                    self.pending.append((self.step, portion.steps, told))
                    self._read(AHEAD)
                self._flush()
                count = then
                if self.step % self.every == 0 or self.step == self.total:
                    self._evaluate()
                if self.evaluated == self.step or self.due:
                    self.save()
                elif self.checkpoints.written:
                    self._settle()
                rung = self.until is not None and self.until <= self.evaluated == self.step < self.total
                if rung and not self.stopping:
                    raise Stopped
        if trace.problem:
            self.setup.summary["warnings"].append(trace.problem)
            self._warn()

    def run_steps(self, portion: MultiBatch) -> tuple[TrainState, dict[str, Any]]:
        """The state after one call of the compiled step, and what the step reports."""
        self.shape = " × ".join(map(str, max((x.shape for x in portion.batch.values()), key=np.prod)))
        if self.setup.most == 1:
            return self.steps.train(self.state, portion.batch)
        return self.steps.multi_step(self.state, portion.batch, portion.count)

    def _portion(self, step: int) -> int:
        """How many updates the call after ``step`` makes: never past a report, an evaluation or a change of
        rate.

        How the steps are cut into calls changes no number: it is one program, run through so many times.
        """
        ends = [self.total, step - step % self.every + self.every, self.overrides.next_change(step) or 0]
        ends.append(step - step % self.steps.report_every + self.steps.report_every)
        return min(self.pace, *(end - step for end in ends if end > step)) if step < self.total else 0

    def _obey(self) -> None:
        """Take the commands that wait; after a pause, stay here until the run is resumed."""
        paused = self.take_commands(False)
        if self.save_error and self.train.on_checkpoint_failure == "pause":
            self._hold()
        if paused:
            self._read(0)
            self._flush(force=True)
            self._say("paused", _("after step {step}", step=self.step))
            while paused:
                time.sleep(0.05)
                self._flush()
                paused = self.take_commands(True)
            self._resume_clock()
        self._set_rate()

    def _hold(self) -> None:
        """Stay here until a checkpoint can be saved, or somebody resumes the run without one."""
        self._read(0)
        self._flush(force=True)
        self._say("paused", self.save_error)
        while self.save_error:
            tried = time.monotonic()
            while self.save_error and not self.group.broadcast(time.monotonic() - tried > HOLD):
                time.sleep(0.05)
                self._flush()
                if not self.take_commands(True):
                    self.save_error = ""
            if self.save_error:
                self.save()
                self._settle()
        self._resume_clock()

    def take_commands(self, paused: bool) -> bool:
        """Do what somebody asked for; with several processes, what the leading one decides by its clock as
        well."""
        here = [
            self.logger.commands(self.step),
            self._is_due(),
            self.pace,
            self.save_error[:300],
            self.progress.stopping,
        ]
        commands, self.due, self.pace, self.save_error, self.stopping = self.group.broadcast(here)
        for name, value in commands:
            if name == "stop":
                raise Stopped
            if name == "suspend":
                raise Suspended
            if name == "set":
                self.overrides.add(self.step, value)
                if "keep" in value:
                    self.logger.log(summary={"keep": value["keep"]})
            elif name == "save":
                self.save()
            elif name in ("pause", "resume"):
                paused = name == "pause"
        return paused

    def _is_due(self) -> bool:
        return time.monotonic() - self.saved > 60 * self.train.save_minutes

    def _set_rate(self) -> None:
        """Give the state the learning rate that commands have set for this step, where it has another."""
        rate = self.overrides.learning_rate(self.step)
        if rate is not None and rate != self.rate:
            self.state.learning_rate = self.steps.replicate(np.float32(rate))
            self.rate = rate

    def _resume_clock(self) -> None:
        self._say("running")
        self.clock = self.paced = self.watched = (time.monotonic(), self.step)

    def _read(self, ahead: int) -> None:
        """Turn device results into records, except those of the newest ``ahead``
        calls: the host never waits for them."""
        while len(self.pending) > ahead:
            end, count, told = self.pending.pop(0)
            report = end % self.steps.report_every == 0
            told = jax.device_get(told if report else {k: v for k, v in told.items() if k != "sums"})
            values = {
                name: np.atleast_1d(told[name])
                for name in ("loss", "learning_rate", "gradient_norm", "skipped")
            }
            for place in range(count):
                step = end - count + 1 + place
                metrics = {name: float(each[place]) for name, each in values.items() if name != "skipped"}
                if report and step == end:
                    scores = told["sums"].compute()
                    metrics |= {name: scores[name] for name in self.setup.head.train_metrics}
                self.callbacks.step(step, metrics)
                skipped, before = int(values["skipped"][place]), self.health.skipped
                if alarm := self.health.see(step, metrics["gradient_norm"], skipped):
                    self.logger.note(summary={"gradient_alarms": self.health.alarms, "gradient_alarm": alarm})
                if skipped > before:
                    self.logger.note(summary={"skipped": skipped})
            self._find_pace(end)

    def _find_pace(self, step: int) -> None:
        """Let a call take about :data:`CALL` seconds, by the speed since the last look."""
        begin, first = self.paced
        now = time.monotonic()
        if self.setup.most > 1 and now - begin > CALL and step > first:
            self.pace = max(1, min(self.setup.most, int(CALL * (step - first) / (now - begin))))
            self.paced = (now, step)

    def _evaluate(self) -> None:
        """Score the validation rows; the records are in the store before the checkpoint of this step is."""
        self._read(0)
        self._flush(force=True)
        self._say("evaluating")
        sums, params = self.steps.replicate(self.steps.empty()), self.state.params
        with Prefetcher(self.setup.validation, self.steps) as feed:
            for step in range(count := len(self.setup.validation)):
                batch = feed.take(step, 1, int(step + 1 < count)).batch
                sums = self.steps.evaluate(params, sums, batch)
                self._flush()
        scores = jax.device_get(sums).compute()
        self.callbacks.evaluate(self.step, {name: scores[name] for name in self.setup.head.eval_metrics})
        self.stopping = self.group.broadcast(self.progress.stopping)
        self._flush(force=True)
        self.evaluated = self.step
        self._resume_clock()

    def _validation(self) -> list[Record]:
        return self.logger.recorded("validation")

    def _evaluations(self) -> dict[int, dict[str, float]]:
        """Step → metric → value, of the validation rows."""
        found: dict[int, dict[str, float]] = {}
        for record in self._validation():
            found.setdefault(record.step, {})[record.name] = record.value
        return found

    def _metric(self) -> tuple[str, float]:
        """The metric that evaluations are compared by, and 1, or -1 where less is better."""
        metric = self.train.metric or self.setup.head.monitor
        return metric, -1.0 if metric in LOWER else 1.0

    def _best(self) -> tuple[int, float] | None:
        """Step and value of the best evaluation."""
        metric, sign = self._metric()
        step = best_of(evaluations := self._evaluations(), metric, sign)
        return None if step is None else (step, evaluations[step][metric])

    def _scores(self, step: int) -> dict[str, float]:
        return {f"validation_{r.name}": r.value for r in self._validation() if r.step == step}

    # --- talking to the store ---------------------------------------------------------------------------------

    def _say(self, status: str, message: str = "") -> None:
        self.logger.log(status=status, message=message)

    def _flush(self, force: bool = False) -> None:
        now = time.monotonic()
        if not force:
            check_interpreter()
            if now - self.flushed < FLUSH:
                return
        self.flushed = now
        begin, first = self.clock
        read = self.step - sum(count for _, count, _ in self.pending)
        values: dict[str, Any] = {
            "step": read,
            "epoch": min(read, self.total) // self.batches.steps_per_epoch,
        }
        if read > first:
            speed = (read - first) / max(now - begin, 1e-9)
            values["summary"] = {
                "steps_per_second": round(speed, 3),
                "examples_per_second": round(speed * self.batches.examples_per_step, 2),
            }
        self._watch_machine(now, read, 0.0 if force else WATCH)
        self.logger.log(**values)

    def _watch_machine(self, now: float, read: int, least: float) -> None:
        """Record the speed since the last look, of ``least`` seconds ago, and the memory in use, as of
        "machine"."""
        begin, first = self.watched
        if read > first and now - begin >= least:
            speed = (read - first) / max(now - begin, 1e-9) * self.batches.examples_per_step
            self.logger.records.append((read, "machine", "examples_per_second", speed))
            self.logger.records.append((read, "machine", "memory", memory_in_use()))
            self.watched = (now, read)

    def save(self) -> None:
        """Begin a checkpoint of this step; its records are in the store before it is."""
        self._read(0)
        self._flush(force=True)
        self._settle()
        best = self._best() if self.group.lead else None
        states = self.callbacks.state()
        if self.group.count > 1:
            self._say("saving", _("step {step}", step=self.step))  # all wait for it
        with self._told_if_unsaved():
            self.saved = time.monotonic()
            if self.group.broadcast(bool(self.logger.records)):
                raise checkpoint_error(self.step, _("the run store, which is written first, is not writable"))
            files = {FILE: states} if states else {}
            self.checkpoints.save(self.state, self.step, best[0] if best else None, self._flush, files)
        if self.group.count > 1:
            self._settle()
            self._resume_clock()

    def _settle(self) -> None:
        """Learn whether the last save succeeded: only then it is reported as saved."""
        step = None
        with self._told_if_unsaved():
            if (step := self.checkpoints.settle(self._flush)) is not None:
                self.save_error = ""
                self.logger.log(summary={"saved_step": step, "checkpoint_error": ""})
        self._tell_damage()
        if step is not None:
            self.callbacks.checkpoint(step)

    @contextlib.contextmanager
    def _told_if_unsaved(self) -> Iterator[None]:
        """A failed save is reported and retried soon; training goes on, or waits, as its settings say."""
        try:
            yield
        except RunError as error:
            self.save_error = str(error)
            self.saved = min(time.monotonic(), time.monotonic() + AGAIN - 60 * self.train.save_minutes)
            self.logger.log(message=self.save_error, summary={"checkpoint_error": self.save_error})

    def _tell_damage(self) -> None:
        """Name checkpoints that were set aside, where there are new ones."""
        if len(self.checkpoints.damaged) > self.named:
            self.named = len(self.checkpoints.damaged)
            self.logger.log(summary={"quarantined": self.checkpoints.damaged})
            self._warn()

    def _warn(self) -> None:
        """Give the run its warnings, those of checkpoints that were set aside included."""
        aside = [_("Checkpoint quarantined: {text}.", text=text) for text in self.checkpoints.damaged]
        self.logger.log(summary={"warnings": [*self.setup.summary["warnings"], *aside]})
