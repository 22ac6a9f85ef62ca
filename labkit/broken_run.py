"""Six broken runs, whose faults the reader of the lesson on debugging finds: ``lk.broken_run("A")``."""

from __future__ import annotations

from labkit.api import Run, fit
from labkit.core.errors import ConfigError
from labkit.course.faults import HIDDEN, plan_of
from labkit.i18n import _


def broken_run(letter: str, **settings: object) -> Run:
    """Train a small network on the handwritten digits, with one fault.

    Args:
        letter: "A" to "F".
        **settings: of :func:`labkit.fit`, such as ``folder``.

    Returns:
        The finished run.

    Raises:
        ConfigError: there is no run of that letter.
    """
    from labkit.models import models

    if letter not in HIDDEN:
        raise ConfigError(
            _("the broken runs are {known}, not {letter!r}."), known=", ".join(HIDDEN), letter=letter
        )
    rows, plan = plan_of(letter)
    return fit(
        rows, models["mlp"](widths=(64,)), name=f"broken {letter}", evaluate_every=20, background=False,
        accept_leakage=True, **{**plan, **settings},
    )  # fmt: skip
