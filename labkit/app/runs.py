"""Runs in panels: the lab state of a run, and the list of runs to choose from."""

from __future__ import annotations

import traitlets

from labkit.app.state import State
from labkit.core import source_code
from labkit.core.errors import LabkitError
from labkit.core.text import visible
from labkit.evaluate.run_report import rows_of
from labkit.i18n import translate
from labkit.runs import repair_log
from labkit.runs.handle import RunHandle
from labkit.runs.overview import labels_of

#: Runs that are offered, the newest.
MOST = 100
#: Characters of an entry at most.
LONGEST = 120


class RunChanges(traitlets.HasTraits):
    """Counts the runs that panels of this process begin, delete or restore, and those that end: all panels watch it."""

    number = traitlets.Int(0)


RUN_CHANGES = RunChanges()


def state_of(given: RunHandle | None, language: str | None = None) -> State:
    """A state with a run's rows, its model and its settings, as far as they can be read; an empty one for no
    run."""
    if given is None:
        return State(language=language)
    state = State(folder=given.store.folder, language=language, run=given)
    try:
        experiment = given.experiment
        state.rows = rows_of(given)
    except (LabkitError, OSError):
        return state  # what cannot be read can be watched all the same
    state.model, state.task, state.train = experiment.model, experiment.task, experiment.train
    state.name, state.accept_leakage = experiment.name, experiment.data.accept_leakage
    state.scenario = experiment.scenario
    return state


def choices(state: State) -> list[tuple[str, str]]:
    """The newest runs of the lab folder, and that of the state, as options: (name, status, score, data and time,
    id); last those that cannot be read, by the names of their folders, with the reason."""
    store = state.store
    infos = store.runs()
    chosen = None if state.run is None else state.run.id
    infos = [info for place, info in enumerate(infos) if place < MOST or info.id == chosen]
    found = [(visible(label, LONGEST), run) for run, label in labels_of(infos, state.language).items()]
    hidden = [(repair_log.unreadable(*each), each[0]) for each in store.unreadable().items()]
    return found + [(translate(text, state.language), run) for text, run in hidden]


def opened(run: RunHandle, name: str, state: State) -> str:
    """The line of Python that opens a run."""
    folder = () if state.folder is None else (str(state.folder),)
    return source_code.assign(name, source_code.call("lk.open_run", run.id, *folder))
