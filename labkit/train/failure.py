"""An exception that ended a run, as fields of the run."""

from __future__ import annotations

import concurrent.futures.thread
import traceback

from labkit.core.errors import LabkitError, headed
from labkit.core.shutdown import InterpreterEndingError
from labkit.i18n import _


def is_process_ending(error: BaseException | None) -> bool:
    """Whether an error says that the interpreter shuts down under a thread that trains, as where a kernel is
    restarted: the run did not fail, it was interrupted."""
    while error is not None:
        if isinstance(error, InterpreterEndingError):
            return True
        if isinstance(error, RuntimeError) and "cannot schedule new futures after" in str(error):
            return bool(getattr(concurrent.futures.thread, "_shutdown", True))
        error = error.__cause__ or error.__context__
    return False


def failure_fields(error: Exception, batch_size: int, shape: str, cure: str = "") -> dict[str, str]:
    """Error, traceback and, as far as known, the cure.

    Args:
        error: what ended the run.
        batch_size: of its experiment.
        shape: of its last batch, empty before the first.
        cure: known from elsewhere, such as of a full disk.
    """
    text = str(error)
    if "RESOURCE_EXHAUSTED" in text or isinstance(error, MemoryError):
        cure = _(
            "Out of memory{where}. Try batch_size={batch_size}; or accumulate=2 (gradient accumulation); or a "
            "smaller max_length or model. Once other programs have freed memory, the run can be resumed unchanged.",
            where=_(" at a batch of {shape}", shape=shape) if shape else "", batch_size=max(1, batch_size // 2),
        )  # fmt: skip
    elif not cure and not isinstance(error, LabkitError):
        cure = _("Unexpected error. The traceback shows where it occurred; the run can be resumed.")
    return {"error": headed(error), "cure": cure, "traceback": traceback.format_exc()}
