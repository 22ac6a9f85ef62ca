"""Run handle: follow, control and wait for a run through the run store."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from labkit.core import file_lock, manifest, plugins, safety, source_code
from labkit.core.cache import writable
from labkit.core.config import Config, dumps
from labkit.core.errors import ConfigError, RunError, WeightsError
from labkit.core.extras import require
from labkit.core.shutdown import leave_before_exit
from labkit.i18n import _
from labkit.runs import liveness
from labkit.runs.database import StoreError
from labkit.runs.store import RunInfo, Store, make_room
from labkit.train import warm_start
from labkit.train.experiment import DataConfig, Experiment, own_experiment

if TYPE_CHECKING:
    import pandas as pd

    from labkit.data.rows import Rows
    from labkit.train.callbacks import Callback

#: The greatest learning rate: the optimizer computes in float32.
GREATEST_RATE = 3e38
#: Beginning of the names of folders in a lab folder in which new runs are prepared.
_PREPARED = ".new-"


class RunHandle:
    """A run of an experiment, past or present, in this process or another.

    Args:
        store: the run store it lives in.
        run_id: its id (or its name).
    """

    def __init__(self, store: Store, run_id: str):
        self.store = store
        self.id = store.run(run_id).id

    @classmethod
    def create(cls, store: Store, experiment: Experiment, rows: Rows) -> Self:
        """Enter a new run with its rows and its experiment; it does nothing until it is started.

        The run is listed once its rows are saved, so that every run that is listed can be started. Where that
        is cut short, by a full disk or a kill, there is no run.
        """
        from labkit.models import models
        from labkit.runs.changes import part_fingerprints
        from labkit.tasks.metrics import SINGLE

        require("train")
        if experiment.scenario is not None:
            experiment.scenario.check_for(experiment.task.problem_type, rows.spec.classes)

        name = safety.title(experiment.name or models.name_of(experiment.model))
        run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        classes = list(rows.spec.classes[:SINGLE]) if experiment.task.problem_type else []
        classes = list(rows.schema.mask_classes[:SINGLE]) if experiment.task.needs_masks else classes
        with _beside(store.folder, run_id) as content:
            rows.save(content / "data")
            if experiment.train.warm_start:
                source = warm_start.pinned(experiment.train.warm_start)
                experiment = experiment.replace(train=experiment.train.replace(warm_start=source))
                warm_start.copy_model(source, content)
            experiment = experiment.for_rows(rows)
            summary = {"classes": classes, "created_with": part_fingerprints(experiment)}
            info = store.create(run_id, name, content, experiment=dumps(experiment), summary=summary)
        with contextlib.suppress(OSError):  # a copy for readers: the store and the record of the run have it
            (info.folder / "experiment.toml").write_text(dumps(experiment), encoding="utf-8")
        return cls(store, run_id)

    # --- watching ---------------------------------------------------------------------------------------------

    @property
    def info(self) -> RunInfo:
        """What the store knows of the run now. Raises :class:`RunError` where the run was removed meanwhile."""
        try:
            return self.store.run(self.id)
        except StoreError:
            raise
        except RunError:
            if (self.store.folder / self.id).exists():
                raise
            raise RunError(
                _("no run {run!r} in {folder} any more: its folder is gone."),
                run=self.id,
                folder=self.store.folder.name,
            ) from None

    @property
    def name(self) -> str:
        """The name given to the run; names need not be unique."""
        return self.info.name

    @property
    def status(self) -> str:
        """One of :data:`labkit.runs.store.STATUSES`."""
        return self.info.status

    @property
    def experiment(self) -> Experiment:
        """What the run does. Its plugins are imported."""
        return own_experiment(self.info.experiment)

    @property
    def history(self) -> pd.DataFrame:
        """All scores so far: one row a step and split, one column a metric. Speed, memory and the F1 of
        single classes are in ``store.records``."""
        import pandas as pd

        records = (r for r in self.store.records(self.id) if r.split != "machine" and "/" not in r.name)
        frame = pd.DataFrame(records, columns=["seq", "step", "split", "name", "value", "time"])
        last: Any = "last"  # the stubs of pandas lack it
        wide = frame.pivot_table(
            index=["step", "split"], columns="name", values="value", aggfunc=last, sort=False
        )
        return wide.rename_axis(columns=None).reset_index()

    def __repr__(self) -> str:
        info = self.info
        best = info.summary.get("validation_f1")
        score = "" if best is None else f", validation F1 {best:.3f}"
        return f"<run {info.name!r}: {info.status}, step {info.step} of {info.steps}{score}>"

    # --- steering ---------------------------------------------------------------------------------------------

    def pause(self) -> int:
        """Hold the run before its next step. Like every command, returns a number for ``store.taken``."""
        return self._command("pause")

    def resume(self, callbacks: Sequence[Callback] | None = None) -> Self:
        """Let a paused run go on; take up a stopped, failed or lost one from its newest checkpoint, and one
        that was never started from the beginning.

        Args:
            callbacks: for a run that is not active: new callbacks, which take up their states from the
                checkpoint; by default those that the experiment names.
        """
        if (info := self.info).over or info.status == "created":
            self.start(callbacks=callbacks)
        elif callbacks is not None:
            raise RunError(_("run {run!r} is {status}: its callbacks cannot be replaced."),
                           run=self.name, status=_(self.status))  # fmt: skip
        else:
            self._command("resume")
        return self

    def delete(self) -> None:
        """Delete the run with its checkpoints, model and rows. Raises :class:`RunError` while it is worked
        on."""
        self.store.delete(self.id)

    def stop(self) -> int:
        """End the run before its next step; the model of the best evaluation is kept."""
        return self._command("stop")

    def suspend(self) -> int:
        """End the session before its next step with a checkpoint, without the evaluation that :meth:`stop`
        adds: resumed, the run gives the same numbers as one that was never interrupted."""
        return self._command("suspend")

    def save(self) -> int:
        """Write a checkpoint before the next step."""
        return self._command("save")

    def set(self, *, learning_rate: float | None = None, keep: str | None = None) -> int:
        """Change a running run: the greatest learning rate from the next step on (the schedule keeps its
        shape), or which state becomes the model, "best" or "last".

        A change holds until the next one is given, also where the run is resumed from an earlier checkpoint:
        then it comes into force again at the step at which it first did
        (:class:`labkit.train.overrides.Overrides`).
        """
        if learning_rate is not None and not (
            _is_number(learning_rate) and 0 <= learning_rate <= GREATEST_RATE
        ):
            raise ConfigError(
                _(
                    "learning_rate = {learning_rate!r}; it must be a number from 0 to {greatest_rate:g} (float32)."
                ),
                learning_rate=learning_rate,
                greatest_rate=GREATEST_RATE,
            )
        if keep not in (None, "best", "last"):
            raise ConfigError(_("keep = {keep!r}; it must be 'best' or 'last'."), keep=keep)
        if learning_rate is None and keep is None:
            raise ConfigError(_("set accepts learning_rate or keep; give one of them."))
        values = {"learning_rate": None if learning_rate is None else float(learning_rate), "keep": keep}
        return self._command("set", {name: value for name, value in values.items() if value is not None})

    def _command(self, name: str, value: object = None) -> int:
        info = self.info
        if info.over:
            again = "" if info.status == "finished" else _(" Use `run.resume()` to continue it.")
            raise RunError(
                _("run {run!r} is {status}: it does not accept {name!r}.{again}"),
                run=info.name, status=_(info.status), name=name, again=again,
            )  # fmt: skip
        return self.store.command(self.id, name, value)

    # --- starting and waiting ---------------------------------------------------------------------------------

    def start(
        self,
        detach: bool = False,
        processes: int = 1,
        callbacks: Sequence[Callback] | None = None,
        *,
        until: int | None = None,
    ) -> Self:
        """Work on the run, from its newest checkpoint if it has one: in a thread, or in a separate process.

        Several ``processes``, each with its own devices, work on it together on this machine, detached.

        Args:
            detach: train in a separate process.
            processes: number of processes.
            callbacks: called by the training loop; None: those of the experiment.
            until: stop after the first evaluation at or after this step; in a thread only.

        Raises:
            ConfigError: a callback that no other process can create, for a detached run.
            RunError: it is being worked on, or has finished; or it had callbacks that the experiment does not
                name.
        """
        require("train")
        if detach or processes > 1:
            plugins.check_elsewhere(self.experiment.plugins)
        self._check_callbacks(callbacks, detach or processes > 1)
        info = self.store.claim(
            self.id, ("created", "stopped", "failed", "lost"), status="preparing", message="", heartbeat=time.time(),
            pid=os.getpid(), watcher={}, **liveness.process_fields(),
        )  # fmt: skip
        self.store.take(self.id, info.step, but="set")  # a stop or pause was for the session that has ended
        if detach or processes > 1:
            from labkit.runs.worker import start

            pid = start(self.store, info, processes)
            watcher = liveness.process_record(pid)
            # Until its worker has said so, the watching process is the one that works on the run.
            mine = {} if self.info.pid != os.getpid() else {"pid": pid, "process": watcher, "environment": {}}
            self.store.update(self.id, watcher=watcher, **mine)
        else:
            from labkit.runs.logger import RunLogger, no_room
            from labkit.train.loop import work

            thread = liveness.Worker(
                f"labkit {self.id}",
                lambda: work(RunLogger(self.store, self.id), callbacks=callbacks, until=until),
                lambda e: make_room(self.id) if no_room(e) else "",
            )
            liveness.THREADS[str(self.store.folder), self.id] = thread
            leave_before_exit(thread)
            thread.start()
        return self

    def _check_callbacks(self, callbacks: Sequence[Callback] | None, detach: bool) -> None:
        """Check the callbacks of a session, and note those that only this process has."""
        from labkit.train.callback_specs import check_callbacks, check_importable, not_importable
        from labkit.train.callbacks import name_of

        before = self.info.summary.get("session_callbacks", [])
        if callbacks is None:
            if before:
                raise RunError(
                    _("run {run!r} had callbacks that only the process of their definition has: {names}. Give them "
                      "again: run.resume(callbacks=[…]); or leave them out: run.resume(callbacks=[])."),
                    run=self.name, names=", ".join(before),
                )  # fmt: skip
            return
        check_callbacks(callbacks)
        if detach:
            check_importable(callbacks)
        if (names := [name_of(each) for each in callbacks if not_importable(each)]) != before:
            self.store.update(self.id, summary={"session_callbacks": names})

    def wait(self, timeout: float | None = None) -> Self:
        """Block until the run is over.

        Raises:
            RunError: the run failed; the text is its error and the cure.
            TimeoutError: ``timeout`` seconds have passed; the run goes on.
        """
        begin = time.monotonic()
        while not self._settled():
            if timeout is not None and time.monotonic() - begin > timeout:
                raise TimeoutError(f"run {self.name!r} is still {self.status} after {timeout} s; it goes on.")
            time.sleep(0.1)
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        """``await run`` waits while the kernel goes on answering buttons."""
        return self._arrive().__await__()

    async def _arrive(self) -> Self:
        while not self._settled():
            await asyncio.sleep(0.1)
        return self

    def _settled(self) -> bool:
        info = self.info
        if info.status == "failed":
            raise RunError(
                _("run {run!r} failed: {error}{cure}"),
                run=info.name, error=info.error, cure=_(" {cure}", cure=info.cure) if info.cure else "",
            )  # fmt: skip
        if info.status == "lost" and info.error:
            raise RunError(
                _("run {run!r} could not record its final status: {error} {cure}"),
                run=info.name, error=info.error, cure=info.cure,
            )  # fmt: skip
        if info.status == "lost":
            raise RunError(
                _("the process of run {run!r} ended without reporting a status. {cure}"),
                run=info.name,
                cure=info.cure,
            )
        return info.over

    # --- code -------------------------------------------------------------------------------------------------

    def toml(self) -> str:
        """The experiment file; ``labkit train`` runs it."""
        return self.info.experiment

    def code(self) -> str:
        """Python that reproduces the run."""
        return code_of(self.experiment)


@contextlib.contextmanager
def _beside(lab: Path, run_id: str) -> Iterator[Path]:
    """A folder in which the content of a new run is prepared; it is gone afterwards. A lock shows that
    somebody works in it: folders of processes that were killed meanwhile are removed."""
    for place in lab.glob(f"{_PREPARED}*/"):
        with contextlib.suppress(OSError):
            if file_lock.is_free(lock := place.with_name(f"{place.name}.lock")):
                shutil.rmtree(place)
                lock.unlink()
    place = lab / f"{_PREPARED}{run_id}"
    lock = place.with_name(f"{place.name}.lock")
    with writable(_("lab folder"), lab, "LABKIT_FOLDER"), file_lock.exclusive(lock, 0.0):
        try:
            place.mkdir()
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):
        lock.unlink()


def model_of(info: RunInfo) -> tuple[Path, int]:
    """The folder of a run's trained model, and the time of that model in nanoseconds.

    Raises:
        RunError: there is no model yet.
        WeightsError: it is the model of another run.
    """
    folder = info.folder / "model"
    if not (folder / "labkit.toml").exists():
        raise RunError(
            _("run {run!r} is {status} and has no model yet. Wait for it with `run.wait()`."),
            run=info.name,
            status=_(info.status),
        )
    if (sealed := (manifest.read(folder) or {}).get("run", info.id)) != info.id:
        raise WeightsError(
            _(
                "the folder of run {run!r} contains the model of run {sealed!r}. Restore its own model, "
                "or train it again."),
            run=info.name, sealed=str(sealed)[:100],
        )  # fmt: skip
    stamps = [
        place.stat().st_mtime_ns
        for name in (manifest.NAME, "labkit.toml")
        if (place := folder / name).exists()
    ]
    return folder, max(stamps)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def code_of(experiment: Experiment) -> str:
    """The three lines of Python for an experiment; only settings that differ from the defaults are written."""
    from labkit.models import models
    from labkit.tasks import DEFAULT, tasks
    from labkit.train.default_rates import default_batch
    from labkit.train.experiment import Training
    from labkit.train.optimizer import Optimizer

    def given(config: Config, plain: Config) -> dict[str, Any]:
        values, usual = config.to_dict(), plain.to_dict()
        return {
            key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if usual.get(key) != v
        }

    data, train = experiment.data, experiment.train
    name, task = models.name_of(experiment.model), tasks.name_of(experiment.task)
    model = source_code.call(source_code.item("lk.models", name), **experiment.model.to_dict())
    rest: dict[str, Any] = {} if task == DEFAULT else {"task": task}
    usual = Training(batch_size=default_batch(experiment.model, experiment.task))
    rest |= {**given(train, usual), **given(train.optimizer, Optimizer())}
    rest.pop("optimizer", None)
    rest |= given(experiment.task, type(experiment.task)())
    if data.accept_leakage:
        rest["accept_leakage"] = True
    if experiment.scenario is not None:
        scenario = given(experiment.scenario, type(experiment.scenario)())
        rest["scenario"] = source_code.call("lk.Scenario", **scenario)
    if experiment.name:
        rest["name"] = experiment.name
    if experiment.callbacks:
        rest["callbacks"] = [_callback(spec) for spec in experiment.callbacks]
    modules = dict.fromkeys(spec["class"].partition(":")[0] for spec in experiment.callbacks)
    run = source_code.call("lk.fit", *map(source_code.variable, ("rows", "model")), **rest)
    lines = [*_plugin_lines(experiment), *map(source_code.import_of, modules), *_data_lines(data)]
    return source_code.program([*lines, source_code.assign("model", model), source_code.assign("run", run)])


def _callback(spec: dict[str, Any]) -> ast.expr:
    """The creation of a callback that an experiment names."""
    name = spec["class"].replace(":", ".")
    values = {key: value for key, value in spec.items() if key != "class"}
    return source_code.call(name, *([source_code.call(f"{name}.Settings", **values)] if values else []))


def _plugin_lines(experiment: Experiment) -> list[str]:
    """Lines that import and register what an experiment has of one's own."""
    found: dict[str, None] = {}
    for entry in experiment.plugins:
        kind, name, target = plugins.parts(entry)
        if not kind:
            found[f"import {target}"] = None
        elif target.startswith("__main__:"):
            found[f"# {name}: {target.partition(':')[2]} of the notebook or script"] = None
        else:
            found[source_code.line(source_code.call(f"lk.{kind}.register", name, target))] = None
    return list(found)


def data_code(data: DataConfig) -> str:
    """Python that loads rows and does with them what an experiment does."""
    return source_code.program(_data_lines(data))


def _data_lines(data: DataConfig) -> list[str]:
    data.check()
    first = source_code.call("lk.load", data.source or source_code.variable("table"), **data.options)
    lines = [
        source_code.assign("rows", first) + ("" if data.source else "  # table: the rows made in Python")
    ]
    for step in data.steps:
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in step.items() if key != "do"}
        lines.append(source_code.assign("rows", source_code.call(f"rows.{step['do']}", **values)))
    return lines
