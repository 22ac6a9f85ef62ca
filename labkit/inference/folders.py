"""Model folders written or exported by a run, opened by task."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from labkit.core.config import loads
from labkit.core.errors import WeightsError
from labkit.core.safety import small_text
from labkit.i18n import _
from labkit.tasks import tasks
from labkit.tasks.base import Task
from labkit.train.compilation import use_compilation_cache
from labkit.train.context import load_model
from labkit.train.experiment import Experiment
from labkit.train.processors import Inputs

#: What tells a folder of labkit's from other weights.
MARK = "labkit.toml"


def folder_of(given: Any) -> Path:
    """The path of a model folder. Raises :class:`WeightsError` for what is none."""
    if not isinstance(given, str | os.PathLike):
        raise WeightsError(
            _("give the path of a model folder, made by run.export(folder), not a {type}."), type=type(given).__name__
        )
    return Path(given)


def is_folder(source: str | Path) -> bool:
    """Whether ``source`` is a model folder of labkit's."""
    return (folder_of(source) / MARK).exists()


def experiment_in(folder: Path) -> Experiment:
    """The experiment that a model folder comes from. Raises :class:`WeightsError` where it is none of labkit's."""
    if not is_folder(folder):
        raise WeightsError(
            _("{folder!r} contains no labkit.toml; give a folder written by run.export(folder)."), folder=folder.name
        )
    use_compilation_cache()
    return loads(Experiment, small_text(folder / MARK, WeightsError))


def opened(folder: str | Path, task: type[Task], does: str) -> tuple[Experiment, Any, Inputs]:
    """The experiment of a model folder, its model with the head, and what it reads with.

    Args:
        folder: as a run has written or exported it.
        task: settings class of the required task.
        does: what such a model does, for the error message.

    Raises:
        WeightsError: the folder was not written by labkit, is damaged, or its model was trained for another task.
    """
    folder = folder_of(folder)
    experiment = experiment_in(folder)
    if not isinstance(experiment.task, task):
        learnt = tasks.name_of(experiment.task)
        raise WeightsError(
            _("{name!r} has learnt {learnt!r}; only {does}."), name=folder.name, learnt=learnt, does=does
        )
    module, _unused, inputs = load_model(experiment, folder)
    return experiment, module, inputs
