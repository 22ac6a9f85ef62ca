"""Runs in panels: the lab state of a run, and the list of runs to choose from."""

from __future__ import annotations

from labkit.app.state import State
from labkit.core import source_code
from labkit.core.errors import LabkitError
from labkit.evaluate.run_report import rows_of
from labkit.i18n import translate
from labkit.runs import repair_log
from labkit.runs.handle import RunHandle

#: Runs that are offered, the newest.
MOST = 100


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
    return state


def choices(state: State) -> list[tuple[str, str]]:
    """The newest runs of the lab folder as options: (name and when it began, id); last those that cannot be
    read, by the names of their folders, with the reason."""
    store = state.store
    found = [(f"{info.name} · {info.id}", info.id) for info in store.runs()[:MOST]]
    hidden = [(repair_log.unreadable(*each), each[0]) for each in store.unreadable().items()]
    return found + [(translate(text, state.language), run) for text, run in hidden]


def opened(run: RunHandle, name: str, state: State) -> str:
    """The line of Python that opens a run."""
    folder = () if state.folder is None else (str(state.folder),)
    return source_code.assign(name, source_code.call("lk.open_run", run.id, *folder))
