"""Shared state of the lab steps: rows and preprocessing, model, task, training settings, run."""

from __future__ import annotations

import contextlib
import threading
import tomllib
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import traitlets

from labkit.app.ticker import TICKER
from labkit.core.cache import fingerprint, write_atomic
from labkit.core.config import Config, dumps, option
from labkit.core.errors import ConfigError, DataError, LabkitError, RunError
from labkit.data.conversations import MESSAGES, PROMPTS
from labkit.data.io.load import load
from labkit.data.rows import Rows
from labkit.data.tags import has_tags
from labkit.i18n import _
from labkit.models import models
from labkit.runs.handle import RunHandle, code_of, data_code
from labkit.runs.store import OVER, Store
from labkit.tasks import default_task, tasks
from labkit.tasks.classify import Classify
from labkit.tasks.scenario import Scenario
from labkit.train.default_rates import BATCH
from labkit.train.experiment import DataConfig, Experiment, Training, ready
from labkit.train.optimizer import Optimizer
from labkit.viz.words import language as language_of

if TYPE_CHECKING:
    from labkit.core.registry import Registry
    from labkit.data.io.load import RowSource

#: Share of the rows that are for training where they are split as usual.
USUAL_SHARE = 0.8
#: The file in the lab folder that keeps a state.
FILE = "bench.toml"


class State(traitlets.HasTraits):
    """One state, watched by every step. Traits may be set from any thread.

    Attributes:
        rows: as they were loaded, or given; None while there are none.
        source, options: arguments of ``lk.load`` that read these rows (``source`` is "" for rows made in
        Python).
        steps: what is done to them, as in an experiment file: ``({"do": "clean", "steps": ["html"]}, …)``.
        accept_leakage: train even if rows of validation or test also occur in train.
        model: the config of an architecture; None while none was chosen.
        task, train: what is learned, and how.
        scenario: what the model is for; None without one.
        name: a name for the run.
        run: the run that is trained, evaluated and used for predictions.
        status: the status of that run as last read; "" for no run.
        ended: how often a run has ended while this state followed it: watch it to use a new model.
        sizes: rows of each split, as they were last prepared.
        language: "en" or "zh".
        step: the step of the bench that is shown.
        conflict: whether another process has changed the file of this state, which so is not written.
        pinned: keep preparation, model and training settings when other data are loaded.
    """

    rows = traitlets.Instance(Rows, allow_none=True)
    source = traitlets.Unicode()
    options = traitlets.Dict()
    steps = traitlets.Tuple()
    accept_leakage = traitlets.Bool(False)
    model = traitlets.Instance(Config, allow_none=True)
    task = traitlets.Instance(Config)
    train = traitlets.Instance(Training)
    scenario = traitlets.Instance(Scenario, allow_none=True)
    name = traitlets.Unicode()
    run = traitlets.Instance(RunHandle, allow_none=True)
    status = traitlets.Unicode()
    ended = traitlets.Int(0)
    sizes = traitlets.Dict()
    language = traitlets.Unicode()
    step = traitlets.Unicode()
    conflict = traitlets.Bool(False)
    pinned = traitlets.Bool(False)

    #: Open panels that show this state; without any the run is not followed.
    panels: int = 0
    #: The traits that make an experiment, and so a step's code.
    KEPT: ClassVar[tuple[str, ...]] = (
        "rows", "source", "options", "steps", "accept_leakage", "model", "task", "train", "scenario",
        "name", "run",
    )  # fmt: skip

    #: Lab folder → the state that the panels of this process share, and how many panels do.
    shared: ClassVar[dict[Path, tuple[State, int]]] = {}

    def __init__(self, *, folder: str | Path | None = None, language: str | None = None, **traits: object):
        super().__init__(language=language_of(language), **traits)
        self.folder = folder
        self.file: Path | None = None
        self._written: bytes | None = None  # the file as this state knows it
        self._lock, self._writing = threading.RLock(), threading.Lock()
        self._made: tuple[Any, Rows] | None = None
        self._split_rows: tuple[Any, Rows] | None = None

    @traitlets.default("task")
    def _task(self) -> Config:
        return Classify()

    @traitlets.default("train")
    def _train(self) -> Training:
        return Training()

    @traitlets.observe("rows")
    def _told_rows(self, change: dict[str, Any]) -> None:
        if change["new"] is not None:
            given = {key: value for key, value in change["new"].source.items() if key != "steps"}
            self.source, self.options = given.pop("source", ""), given
            usual = usual_task(change["new"])
            labelled = self.task.problem_type or change["new"].schema.modality not in self.task.modalities
            if labelled and tasks.name_of(self.task) != usual:
                self.task = tasks[usual]()
            if self.scenario is not None:
                try:
                    self.scenario.check_for(self.task.problem_type, change["new"].schema.classes)
                except ConfigError:  # it was for other classes
                    self.scenario = None

    @traitlets.observe("run")
    def _other_run(self, change: dict[str, Any]) -> None:
        self.status = ""
        self.follow()

    def follow(self) -> None:
        """Follow the run to its end; call it where a run that had ended goes on."""
        follower = _Follower(self)
        if follower.refresh():
            TICKER.add(follower)

    def take(self, rows: Rows, task: str = "") -> None:
        """Other rows, and the task that was chosen for them. For rows of another source everything is reset
        that was chosen for the earlier ones, unless it is pinned."""
        other = rows.source.get("source") != self.source
        with self.hold_trait_notifications():
            if other and not self.pinned:
                self.reset()
            elif other:
                self.steps = tuple(
                    step
                    for step in self.steps
                    if step["do"] not in ("relabel", "correct_labels") and "group" not in step
                )
            self.rows = rows
            if task and tasks.name_of(self.task) != task:
                self.task = tasks[task]()

    def reset(self) -> None:
        """Preparation, model, task and training settings by default; the run stays."""
        with self.hold_trait_notifications():
            self.steps, self.accept_leakage, self.name, self.scenario = (), False, "", None
            self.model, self.train = None, Training()
            self.task = Classify() if self.rows is None else tasks[usual_task(self.rows)]()

    @property
    def store(self) -> Store:
        """The runs of the lab folder."""
        return Store(self.folder)

    def runs(self) -> list[RunHandle]:
        """The runs of the lab folder, newest first."""
        store = self.store
        return [RunHandle(store, info.id) for info in store.runs()]

    # --- rows -------------------------------------------------------------------------------------------------

    def load(self) -> Rows:
        """Read the rows of ``source`` again; for a thread. Raises as :func:`labkit.load`."""
        if not self.source:
            raise DataError(
                _("the rows were created in Python and were lost with the kernel: pass them again.")
            )
        return load(self.source, **self.options)

    def cleaned(self) -> Rows:
        """The rows after ``steps``; for a thread. Raises :class:`DataError` without rows, or as a step does."""
        with self._lock:
            if self.rows is None:
                raise DataError(_("no data yet: load some in the step Data."))
            key = self._cleaned_key()
            if self._made is None or self._made[0] != key:
                rows = self.rows
                for step in self.steps:
                    rows = done(rows, step)
                self._made = (key, rows)
            return self._made[1]

    def prepared(self) -> Rows:
        """The rows as training needs them, split; for a thread. Raises :class:`DataError` as its parts do."""
        with self._lock:
            cleaned = self.cleaned()
            key = (id(cleaned), tasks.name_of(self.task), self.task.example_format, self.accept_leakage)
            if self._split_rows is None or self._split_rows[0] != key:
                self._split_rows = (key, ready(cleaned, self.task, self.accept_leakage))
            made = self._split_rows[1]
        self.sizes = made.counts()
        return made

    def ready(self) -> tuple[Rows, Experiment]:
        """:meth:`prepared`, and the experiment; for a thread. Raises as its parts do."""
        rows = self.prepared()
        return rows, self.experiment.replace(data=DataConfig.of(rows, self.accept_leakage))

    def counts(self) -> dict[str, int]:
        """Rows of each split: as they are prepared where that is known, else as they are now."""
        if self.rows is None:
            return {}
        made, split = self._made, self._split_rows
        current = made is not None and made[0] == self._cleaned_key()
        if current and split is not None and split[0][0] == id(made[1]):
            return split[1].counts()
        return (made[1] if current else self.rows).counts()

    def _cleaned_key(self) -> tuple[int, str]:
        return id(self.rows), fingerprint(list(self.steps))

    # --- experiment -------------------------------------------------------------------------------------------

    @property
    def data(self) -> DataConfig:
        """Where the rows come from and what is done to them; the split that training makes is among it."""
        before = tuple(self.rows.source.get("steps", ())) if self.rows is not None else ()
        steps = (*before, *self.steps)
        columns = self.rows.schema.text if self.rows is not None else ()
        return DataConfig(
            self.source, dict(self.options), (*steps, *self._split(steps)), self.accept_leakage, columns
        )

    def _split(self, steps: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        """The split that :func:`labkit.train.experiment.ready` adds to rows that have none."""
        whole = self.rows is not None and {"validation", "test"} <= set(self.rows.splits)
        if whole or any(step["do"] == "split" for step in steps):
            return ()
        if self.task.example_format.running:
            return ({"do": "split", "in_order": True, "accept_leakage": True},)
        return ({"do": "split", "accept_leakage": True} if self.accept_leakage else {"do": "split"},)

    @property
    def experiment(self) -> Experiment:
        """All of it. Raises :class:`ConfigError` while no model was chosen."""
        if self.model is None:
            raise ConfigError(_("no model chosen yet: choose one in the step Model."))
        return Experiment(
            model=self.model, data=self.data, task=self.task, train=self.train, name=self.name,
            scenario=self.scenario,
        )  # fmt: skip

    @property
    def training(self) -> Training:
        """The training, with the default learning rate, batch size and epochs of model, task and rows where
        none was chosen."""
        train = self.train if self.train.batch_size else self.train.replace(batch_size=BATCH)
        if self.model is not None:
            train = self.train.settled(self.model, self.task)
        counts = self.counts()
        split = {"validation", "test"} <= set(counts)
        rows = counts.get("train", 0) if split else round(USUAL_SHARE * sum(counts.values()))
        return train.for_rows(rows, self.task)

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of it."""
        return self.training.optimizer

    def code(self, steps: bool = True, model: bool = True) -> str:
        """Python that does the same: the rows, with ``steps`` what is done to them, with ``model`` the run
        too."""
        if self.rows is None and not self.source:
            return ""
        if model and self.model is not None:
            return code_of(self.experiment)
        before = len(self.rows.source.get("steps", ())) if self.rows is not None else 0
        data = self.data
        return data_code(data if steps else data.replace(steps=data.steps[:before]))

    # --- kept in the lab folder -------------------------------------------------------------------------------

    @classmethod
    def kept(cls, folder: str | Path | None = None, language: str | None = None) -> Self:
        """The state that the lab folder keeps, or a new one; whatever changes is written there from now on.

        Rows are not read yet: :meth:`load` does. Unreadable parts of the file are skipped.
        """
        state = cls(folder=folder, language=language)
        file = state.store.folder / FILE
        state._read(file, language is not None)
        state.file = file
        state.observe(lambda change: state._write(), [*cls.KEPT, "language", "step"])
        return state

    @classmethod
    def open(cls, folder: str | Path | None = None, language: str | None = None) -> State:
        """The state of the lab folder that all panels of this process share, so that each shows what is done in
        another; give it back by :meth:`release`."""
        place = Store(folder).folder
        state, users = cls.shared.get(place, (None, 0))
        if state is None:
            state = cls.kept(folder, language)
        elif language is not None:
            state.language = language_of(language)
        cls.shared[place] = state, users + 1
        return state

    def release(self) -> None:
        """A panel no longer uses this state; the next one after the last reads the file again."""
        for place, (state, users) in list(self.shared.items()):
            if state is self and users > 1:
                self.shared[place] = state, users - 1
            elif state is self:
                del self.shared[place]

    def overwrite(self) -> None:
        """Settle a conflict: write the file as this state is."""
        if self.file is not None:
            self._written = _content(self.file)
            self._write()

    def adopt(self) -> None:
        """Settle a conflict: take what the file holds; its rows are not read yet."""
        if self.file is not None:
            self.rows = None
            self._read(self.file, spoken=True)
            self._write()

    def _read(self, file: Path, spoken: bool) -> None:
        """Restore what a file holds, as far as it can be read: it may be damaged or nested too deeply."""
        self._written = _content(file)
        with contextlib.suppress(ValueError, RecursionError):
            self._restore(tomllib.loads((self._written or b"").decode("utf-8")), spoken)
        self.conflict = False

    def _restore(self, values: dict[str, Any], spoken: bool) -> None:
        def data() -> None:
            found = DataConfig.from_dict(values["data"], "data")
            self.source, self.options, self.steps = found.source, dict(found.options), found.steps
            self.accept_leakage = found.accept_leakage

        def run() -> None:
            self.run = RunHandle(self.store, values["run"])

        def named(noun: str, registry: Registry) -> None:
            rest = dict(values[noun])
            setattr(self, noun, registry[rest.pop("name")].from_dict(rest, noun))

        def train() -> None:
            self.train = Training.from_dict(values["train"], "train")

        def scenario() -> None:
            self.scenario = Scenario.from_dict(values["scenario"], "scenario") if values["scenario"] else None

        for part in (
            data,
            scenario,
            lambda: named("model", models),
            lambda: named("task", tasks),
            train,
            run,
        ):
            with contextlib.suppress(KeyError, TypeError, LabkitError):
                part()
        for trait in ("name", "step", *(() if spoken else ("language",))):
            with contextlib.suppress(traitlets.TraitError):
                setattr(self, trait, values.get(trait, getattr(self, trait)))

    def _write(self) -> None:
        data = DataConfig(self.source, dict(self.options), tuple(self.steps), self.accept_leakage)
        task = {"name": tasks.name_of(self.task), **self.task.to_dict()}
        model = {} if self.model is None else {"name": models.name_of(self.model), **self.model.to_dict()}
        run = self.run.id if self.run is not None else ""
        kept = _Kept(
            self.language, self.step, self.name, run, data.to_dict(), model, task, self.train.to_dict(),
            {} if self.scenario is None else self.scenario.to_dict(),
        )  # fmt: skip
        assert self.file is not None
        with self._writing:
            text = dumps(kept)
            found = _content(self.file)
            if found not in (None, self._written, text.encode()):
                self.conflict = True
                return
            write_atomic(self.file, text)
            self._written = text.encode()
        self.conflict = False


def state_with(rows: RowSource | None, state: State | None, language: str | None) -> State:
    """The state of a step: ``state`` or a new one, with ``rows`` in it where they are given: what
    :func:`~labkit.load` returns or takes."""
    if not isinstance(state, State | None):
        raise ConfigError(
            _("state is a {type}; give the .state of another panel, or leave it out."),
            type=type(state).__name__,
        )
    state = state if state is not None else State(language=language)
    if rows is not None:
        state.rows = rows if isinstance(rows, Rows) else load(rows)
    return state


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


class _Follower:
    """Keeps ``status`` and ``ended`` of a state up to date while its run is active; the ticker calls it."""

    def __init__(self, state: State):
        self._state, self._run = weakref.ref(state), state.run

    def refresh(self) -> bool:
        """False once there is nothing more to follow."""
        state, run = self._state(), self._run
        if state is None or state.run is not run:
            return False
        try:
            info = None if run is None else run.info
        except RunError:  # it was deleted
            info = None
        before, state.status = state.status, "" if info is None else info.status
        if info is None or not info.over:
            return info is not None and state.panels > 0
        if before and before not in OVER:
            state.ended += 1
        return False


@dataclass(frozen=True)
class _Kept(Config):
    """What the file holds."""

    language: str
    step: str
    name: str
    run: str
    data: dict[str, Any] = option(factory=dict)
    model: dict[str, Any] = option(factory=dict)
    task: dict[str, Any] = option(factory=dict)
    train: dict[str, Any] = option(factory=dict)
    scenario: dict[str, Any] = option(factory=dict)


def usual_task(rows: Rows) -> str:
    """The task that fits the labels of the rows; of texts of which nothing is known, what comes next."""
    schema = rows.schema
    if schema.classes or schema.modality != "text":
        special = bool(schema.mask_classes), bool(schema.transcript)
        return default_task(schema.modality, schema.problem_type, *special)
    first = next(iter(rows.splits.values()))
    if has_tags(first):
        return "tag"
    return "instruct" if MESSAGES in first.column_names or schema.text in PROMPTS else "lm"


def done(rows: Rows, step: dict[str, Any]) -> Rows:
    """The rows after a step of preparation."""
    rest = {key: value for key, value in step.items() if key != "do"}
    return getattr(rows, step["do"])(**rest)
