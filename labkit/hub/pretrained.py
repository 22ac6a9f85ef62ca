"""Pretrained weights by name: a sample, a folder, or a repository of the hub with its revision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from labkit.core.errors import WeightsError, nearest
from labkit.core.safety import UNSAFE
from labkit.hub import adapters, modelscope, samples
from labkit.hub.download import Cancelled, canceller
from labkit.hub.tensors import CURE
from labkit.i18n import _

COMMIT = re.compile("[0-9a-f]{40}")
HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>.*))?")


def find(name: str) -> Path:
    """The folder that a weights setting names; of a PEFT adapter that of its base model with the adapter
    added.

    Args:
        name: a sample ("minilm-l6"), a local folder, a hub repository with a commit, branch or tag
            ("org/name@main"), or "modelscope:org/name@revision".

    Raises:
        WeightsError: none of these, a hub name without a revision, or the hub cannot be reached.
        SampleError: the sample cannot be fetched.
    """
    models = [sample.name for sample in samples.SAMPLES.values() if sample.kind == "model"]
    if name in models:
        return samples.folder(name)
    if (path := Path(name).expanduser()).is_dir():
        return adapters.merged(path, find) if adapters.is_adapter(path) else path
    if name.startswith("modelscope:"):
        path = modelscope.folder(name)
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
    if not hub["revision"]:
        raise WeightsError(
            _(
                "weights {name!r}: no such folder, and a name on the hub needs a revision, 'org/name@' and a commit "
                "(40 hexadecimal digits), a branch or a tag. The model's page on the hub lists them under "
                "'Files', 'History'."),
            name=name,
        )  # fmt: skip
    repo, _at, revision = pinned(name).partition("@")
    path = _from_hub(repo, revision)
    return adapters.merged(path, find) if adapters.is_adapter(path) else path


def pinned(name: str) -> str:
    """A name on the hub with the commit that its branch or tag is at now, so that the same weights are used
    every time; any other name as it is. Raises :class:`WeightsError` where the hub cannot be reached."""
    hub = HUB.fullmatch(name)
    if (
        not hub
        or not hub["revision"]
        or COMMIT.fullmatch(hub["revision"])
        or Path(name).expanduser().is_dir()
    ):
        return name
    import huggingface_hub

    try:
        return (
            f"{hub['repo']}@{huggingface_hub.HfApi().model_info(hub['repo'], revision=hub['revision']).sha}"
        )
    except Exception as error:
        raise _unreachable(hub["repo"], hub["revision"], error) from error


def _from_hub(repo: str, revision: str) -> Path:
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo, revision=revision, allow_patterns=["*.safetensors", "*.json", "*.txt", "*.jinja"],
                **_cancellable(),
            )
        )  # fmt: skip
    except Cancelled:
        _remove_incomplete(repo)
        raise
    except Exception as error:  # the hub's client raises its own, its HTTP library's and the system's errors
        raise _unreachable(repo, revision, error) from error


def _cancellable() -> dict[str, Any]:
    """Arguments of the hub's client by which a download ends when it is cancelled: its progress bar is moved with every
    portion that arrives."""
    event = canceller()
    if event is None:
        return {}
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc, valid-type]
        def update(self, n: float | None = 1) -> bool | None:
            if event.is_set():
                raise Cancelled(_("The download was cancelled."))
            return super().update(n)

    return {"tqdm_class": Bar}


def _remove_incomplete(repo: str) -> None:
    """Remove what a cancelled download has left in the cache of the hub's client."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "blobs"
    for left in place.glob("*.incomplete"):
        left.unlink(missing_ok=True)


def _unreachable(repo: str, revision: str, error: Exception) -> WeightsError:
    return WeightsError(
        _(
            "{repo}@{revision} could not be downloaded from the hub ({type}: {error}). Check the "
            "name, the revision and the connection, or copy the folder by other means and give its "
            "path as weights."),
        repo=repo, revision=revision, type=type(error).__name__, error=error,
    )  # fmt: skip
