"""Static picture of a run in a notebook cell, updated while it runs. No widgets, no scripts."""

from __future__ import annotations

import logging
import math
import secrets
import time
from typing import TYPE_CHECKING, Any

from labkit.app.ticker import TICKER
from labkit.viz import curves, run_html
from labkit.viz.series import gather
from labkit.viz.words import language as language_of
from labkit.viz.words import word

if TYPE_CHECKING:
    from labkit.runs.handle import RunHandle

#: Seconds between two pictures of a run.
PERIOD = 1.0

_LOG = logging.getLogger("labkit.app")


class PicturePanel:
    """A run as a picture: at once if it is over, else renewed until it is. Shown by ``display_id``, without
    widgets."""

    def __init__(self, run: RunHandle, language: str | None = None):
        self.run, self.language = run, language_of(language)
        self.display_id = secrets.token_hex(8)
        self._drawn = -math.inf

    def display(self, follow: bool = True) -> None:
        """Show the panel in the cell that runs now; with ``follow`` a thread renews it until the run is over.

        A cell that waits for the run calls :meth:`refresh` itself: Colab drops what a thread shows.
        """
        publish(bundle(self.run, self.language), self.display_id)
        if follow and not self.run.info.over:
            TICKER.add(self)

    def refresh(self) -> bool:
        """Renew the picture, at most once a second; False when the run is over."""
        over = self.run.info.over
        if over or time.monotonic() - self._drawn >= PERIOD:
            self._drawn = time.monotonic()
            publish(bundle(self.run, self.language), self.display_id, update=True)
        return not over


def bundle(run: RunHandle, language: str) -> dict[str, str]:
    """A run as a MIME bundle without widgets. The plain text holds neither ids nor times."""
    info = run.info
    series = gather(run.store.records(run.id))
    text = f"{info.name}: {word(info.status, language)}; {curves.spoken(series, language)}"
    return {"text/html": run_html.result(info, series, code_of(run, language), language), "text/plain": text}


def code_of(run: RunHandle, language: str) -> str:
    """The run's code as HTML; only the experiment file where Python cannot be written for it."""
    toml = run.toml()
    try:
        python = run.code()
    except Exception:
        _LOG.exception("code of run %s", run.id)
        python = ""
    return run_html.code_section(python, toml, language)


def publish(data: dict[str, Any], display_id: str, update: bool = False) -> None:
    """Show a MIME bundle, or put it where the one of the same id is shown. Does nothing outside notebooks."""
    from IPython.display import display

    display(data, raw=True, display_id=display_id, update=update)
