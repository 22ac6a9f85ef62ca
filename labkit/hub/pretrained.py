"""Pretrained weights by name: a sample, a folder, or a repository of the hub with its revision."""

from __future__ import annotations

import re
from pathlib import Path

from labkit.core.errors import WeightsError, nearest
from labkit.core.safety import UNSAFE
from labkit.hub import adapters, samples
from labkit.hub.tensors import CURE
from labkit.i18n import _

HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>.*))?")


def find(name: str) -> Path:
    """The folder that a weights setting names; of a PEFT adapter that of its base model with the adapter added.

    Args:
        name: a sample ("minilm-l6"), a local folder, or a hub repository with its revision ("org/name@<40 hex>").

    Raises:
        WeightsError: none of the three, a hub name without a full revision, or the hub cannot be reached.
        SampleError: the sample cannot be fetched.
    """
    models = [sample.name for sample in samples.SAMPLES.values() if sample.kind == "model"]
    if name in models:
        return samples.folder(name)
    if (path := Path(name).expanduser()).is_dir():
        return adapters.merged(path, find) if adapters.is_adapter(path) else path
    if path.suffix.lower() in (*UNSAFE, ".safetensors"):
        raise WeightsError(
            _("weights {name!r}: give the folder that contains config.json and model.safetensors. {cure}"),
            name=name,
            cure=CURE,
        )
    if not (hub := HUB.fullmatch(name)):
        raise WeightsError(
            _("weights {name!r} are neither a sample ({models}), nor a folder that exists, nor "
              "'org/name@revision'.{hint}"),
            name=name, models=", ".join(models), hint=nearest(name, models),
        )  # fmt: skip
    if not re.fullmatch(r"[0-9a-f]{40}", revision := hub["revision"] or ""):
        raise WeightsError(
            _(
                "weights {name!r}: no such folder, and a name on the hub needs a full revision, "
                "'org/name@' and 40 hexadecimal digits, so that the same weights are used every time. The "
                "model's page on the hub lists revisions under 'Files', 'History'."),
            name=name,
        )  # fmt: skip
    path = _from_hub(hub["repo"], revision)
    return adapters.merged(path, find) if adapters.is_adapter(path) else path


def _from_hub(repo: str, revision: str) -> Path:
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo, revision=revision, allow_patterns=["*.safetensors", "*.json", "*.txt"]
            )
        )
    except Exception as error:  # the hub's client raises its own, its HTTP library's and the system's errors
        raise WeightsError(
            _(
                "{repo}@{revision} could not be downloaded from the hub ({type}: {error}). Check the "
                "name, the revision and the connection, or copy the folder by other means and give its "
                "path as weights."),
            repo=repo, revision=revision, type=type(error).__name__, error=error,
        ) from error  # fmt: skip
