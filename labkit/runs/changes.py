"""What has changed since a run was created: its data, its model or its settings."""

from __future__ import annotations

from labkit.core.cache import fingerprint
from labkit.core.errors import LabkitError
from labkit.runs.store import RunInfo
from labkit.train.experiment import Experiment, own_experiment

#: Parts of an experiment that are compared.
PARTS = ("data", "model", "settings")


def part_fingerprints(experiment: Experiment) -> dict[str, str]:
    """Part → fingerprint. The number of epochs is compared by itself: its default depends on the rows."""
    values = experiment.to_dict()
    train = {name: value for name, value in values["train"].items() if name != "epochs"}
    found = (values["data"], values["model"], [values["task"], train])
    return {part: fingerprint(each) for part, each in zip(PARTS, found, strict=True)}


def changed_parts(experiment: Experiment, info: RunInfo) -> tuple[str, ...]:
    """The parts in which an experiment differs from that of a run; () where the run's cannot be read.

    A part is equal if it is as the run was created with, or as the run has completed it, such as with the
    size of the vocabulary.
    """
    now, known = part_fingerprints(experiment), [info.summary.get("created_with", {})]
    try:
        known.append(part_fingerprints(own_experiment(info.experiment)))
    except LabkitError:
        if not known[0]:
            return ()
    changed = [part for part in PARTS if all(now[part] != each.get(part) for each in known)]
    epochs = experiment.train.epochs
    if epochs is not None and epochs != info.settings("train").get("epochs") and "settings" not in changed:
        changed.append("settings")
    return tuple(changed)
