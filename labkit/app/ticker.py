"""One thread per process that refreshes all open panels twice per second."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

_LOG = logging.getLogger("labkit.app")

#: Seconds between two refreshes, and the least when somebody asks for one at once.
PERIOD = 0.5
LEAST = 0.1
#: Refreshes that may fail one after the other before a member is left out.
TRIES = 10


class Refreshed(Protocol):
    """What a ticker refreshes: returns False when it needs no more."""

    def refresh(self) -> bool: ...


class Ticker:
    """Calls ``refresh`` of its members from one thread, which lives only while there are members."""

    def __init__(self) -> None:
        self._members: list[Refreshed] = []
        self._failures: dict[int, int] = {}  # in a row, by the id of the member
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, member: Refreshed) -> None:
        """Refresh ``member`` at once and from now on; nothing but "at once" if it is a member already."""
        with self._lock:
            if member not in self._members:
                self._members.append(member)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="labkit panels", daemon=True)
                self._thread.start()
            self._asked.set()

    def discard(self, member: Refreshed) -> None:
        """Refresh ``member`` no more."""
        with self._lock:
            if member in self._members:
                self._members.remove(member)

    def _run(self) -> None:
        while True:
            self._asked.clear()
            with self._lock:
                members = list(self._members)
                if not members:
                    self._thread = None
                    return
            for member in members:
                try:
                    goes_on = member.refresh()
                    self._failures.pop(id(member), None)
                except Exception:  # a busy store, say: one panel's failure must not stop the others
                    _LOG.exception("%s", type(member).__name__)
                    self._failures[id(member)] = failures = self._failures.get(id(member), 0) + 1
                    goes_on = failures < TRIES
                if not goes_on:
                    self._failures.pop(id(member), None)  # it may come back, or another have its id
                    self._dismiss(member)
            time.sleep(LEAST)
            self._asked.wait(PERIOD - LEAST)

    def _dismiss(self, member: Refreshed) -> None:
        with self._lock:
            if (
                member in self._members and not self._asked.is_set()
            ):  # else somebody may have asked in between
                self._members.remove(member)


TICKER = Ticker()
