"""Upload of a trained model to the Hugging Face hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from labkit.core.errors import WeightsError
from labkit.core.safety import offline
from labkit.hub.pretrained import HUB
from labkit.i18n import _
from labkit.inference.export import export
from labkit.train.experiment import Experiment


def push(
    experiment: Experiment, model: Path, repo: str, *, revision: str, private: bool | None, token: str | None
) -> str:
    """Export a run's model and upload it; the repository and its branch are made where they are not there.

    Args:
        model: folder of the trained model.
        repo: "org/name".
        revision: branch.
        private: whether a new repository is private; None: as the hub is set.
        token: of the user; None: the one that the client of the hub has stored.

    Returns:
        "org/name@commit", by which the model is loaded.

    Raises:
        ConfigError: other libraries would compute other results from this model.
        WeightsError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    if not (parts := HUB.fullmatch(repo)) or parts["revision"] is not None:
        raise WeightsError(_("{repo!r} is no name of a repository: expected 'org/name'."), repo=repo)
    if offline():
        raise WeightsError(_("LABKIT_OFFLINE is set, so nothing is uploaded to {repo}."), repo=repo)
    with tempfile.TemporaryDirectory() as work:
        folder = export(experiment, model, Path(work) / "model")
        api = HfApi(token=token, library_name="labkit")
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            if revision != "main":
                api.create_branch(repo, branch=revision, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo, folder_path=folder, revision=revision, commit_message="Upload a model of labkit"
            )
        except Exception as error:  # the client raises its own, its HTTP library's and the system's errors
            raise WeightsError(
                _("the model could not be uploaded to {repo}@{revision} ({type}: {error}). Check the name, the "
                  "connection and the token (`hf auth login`)."),
                repo=repo, revision=revision, type=type(error).__name__, error=error,
            ) from error  # fmt: skip
    return f"{repo}@{done.oid}"
