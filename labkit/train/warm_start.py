"""Warm start: training that begins from the weights of a trained model instead of pretrained or random ones.

The model folder is copied into the run's folder when the run is created, so a run starts again from the same
weights whatever becomes of that model. The setting ``train.warm_start`` names the folder together with the
fingerprint of its files: two experiments are equal only where the weights they start from are.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from labkit.core import manifest
from labkit.core.cache import fingerprint
from labkit.core.config import loads
from labkit.core.errors import WeightsError
from labkit.core.safety import small_text
from labkit.hub.tensors import check_sealed
from labkit.i18n import _
from labkit.models import packed
from labkit.train.experiment import Experiment

#: Folder in a run's folder with the model that the run starts from.
FOLDER = "start"
_PINNED = re.compile(r"(?P<place>.+)@(?P<seal>[0-9a-f]{16})", re.DOTALL)


def pinned(source: str | Path) -> str:
    """The absolute path of a model folder with the fingerprint of its files, as ``path@fingerprint``.

    Args:
        source: a model folder, or what this function has returned: then its files must still be the same.

    Raises:
        WeightsError: there is no model, it is damaged, or its files have changed.
    """
    return f"{(place := _checked(str(source)))}@{_seal(place)}"


def copy_model(source: str, run_folder: Path) -> None:
    """Copy the model that a run starts from into the folder of the run. Raises as :func:`pinned`."""
    shutil.copytree(_checked(source), run_folder / FOLDER)


def start_folder(experiment: Experiment, run_folder: Path | None) -> Path | None:
    """The folder of the model that a run starts from; None where it starts from none.

    Args:
        experiment: of the run.
        run_folder: with the copy; where there is none, as for cost estimates, the model itself is read.

    Raises:
        WeightsError: as :func:`pinned`.
    """
    if not (source := experiment.train.warm_start):
        return None
    copied = None if run_folder is None else run_folder / FOLDER
    if copied is None or not copied.exists():
        return _checked(source)
    pin = _PINNED.fullmatch(source)
    check_sealed(copied)
    if pin is not None and _seal(copied) != pin["seal"]:
        raise WeightsError(
            _("the model in {folder} is not the one that the run was created with."), folder=copied
        )
    return copied


def start_experiment(folder: Path) -> Experiment:
    """The experiment of a model that a run starts from. Raises :class:`ConfigError`, :class:`WeightsError`."""
    return loads(Experiment, small_text(folder / "labkit.toml", WeightsError))


def _checked(source: str) -> Path:
    pin = _PINNED.fullmatch(source)
    place = Path(pin["place"] if pin is not None else source).expanduser().absolute()
    if not (place / "labkit.toml").exists():
        raise WeightsError(
            _("warm_start: {folder} is no model folder; give a run, or a folder written by run.export(folder)."),
            folder=str(place),
        )  # fmt: skip
    if packed.about(place) is not None:
        raise WeightsError(
            _("warm_start: the model in {folder} was quantised or pruned; start from the whole model."),
            folder=str(place),
        )  # fmt: skip
    check_sealed(place)
    if pin is not None and (now := _seal(place)) != pin["seal"]:
        raise WeightsError(
            _("warm_start: the model in {folder} has changed (fingerprint {now}, expected {seal})."),
            folder=str(place), now=now, seal=pin["seal"],
        )  # fmt: skip
    return place


def _seal(folder: Path) -> str:
    """Fingerprint of the names and contents of the files of a sealed model folder."""
    content = manifest.read(folder)
    assert content is not None, "the folder was checked"
    return fingerprint({name: file["sha256"] for name, file in content["files"].items()})[:16]
