"""Optional parts of labkit, which ``pip`` installs by name."""

from __future__ import annotations

import functools
import importlib.util

from labkit.core.errors import ExtraError
from labkit.i18n import _

#: Extra → the modules outside labkit that its code imports; pyproject.toml names the packages.
EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("orbax", "sklearn", "threadpoolctl"),
    "lab": ("jupyterlab", "ipykernel", "jupyter_client", "ipywidgets", "anywidget", "plotly"),
    "app": ("voila",),
    "convert": ("h5py", "gguf"),
    "excel": ("openpyxl",),
    "mpi": ("mpi4py",),
    "optuna": ("optuna",),
    "privacy": ("dp_accounting",),
    "pdf": ("pypdf",),
    "tensorboard": ("tensorboardX",),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
    "quantize": ("qwix",),
    "onnx": ("onnx", "onnxruntime"),
    "speech": ("espeakng_loader",),
}


@functools.cache
def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def has(extra: str) -> bool:
    """Whether every module of an extra is installed."""
    return all(map(is_installed, EXTRAS[extra]))


def require(extra: str) -> None:
    """Check that an extra is installed.

    Raises:
        ExtraError: one of its modules is missing; the message has the command that installs it.
    """
    if missing := [module for module in EXTRAS[extra] if not is_installed(module)]:
        raise ExtraError(
            _("this needs {modules}, which is not installed. Install it with: python -m pip install 'labkit[{extra}]'"),
            modules=", ".join(missing), extra=extra,
        )  # fmt: skip
