"""Upload of a folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from labkit.core.errors import WeightsError
from labkit.core.safety import offline
from labkit.hub.pretrained import HUB
from labkit.i18n import _


def check(repo: str) -> None:
    """Raise :class:`WeightsError` for what is no name of a repository, and where nothing may be uploaded."""
    if not (parts := HUB.fullmatch(repo)) or parts["revision"] is not None:
        raise WeightsError(_("{repo!r} is no name of a repository: expected 'org/name'."), repo=repo)
    if offline():
        raise WeightsError(_("LABKIT_OFFLINE is set, so nothing is uploaded to {repo}."), repo=repo)


def upload(folder: Path, repo: str, *, revision: str, private: bool | None, token: str | None) -> str:
    """Upload a model folder; the repository and its branch are made where they are not there.

    Args:
        folder: the model.
        repo: "org/name".
        revision: branch.
        private: whether a new repository is private; None: as the hub is set.
        token: of the user; None: the one that the client of the hub has stored.

    Returns:
        "org/name@commit", by which the model is loaded.

    Raises:
        WeightsError: as :func:`check`; the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    check(repo)
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
