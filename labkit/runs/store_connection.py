"""How a process is connected to a run store: anew where its files are replaced or removed, and repaired where
they are damaged."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from labkit.core import file_lock
from labkit.core.cache import writable
from labkit.i18n import _, ngettext
from labkit.runs import database, repair_log, store_repair
from labkit.runs.database import Damaged, StoreError

#: Seconds that a repair of the store by another process is waited for.
REPAIR = 60.0

Found = TypeVar("Found")
_LOG = logging.getLogger("labkit.store")
#: Connections that are open in this process.
_OPEN: weakref.WeakSet[database.Connection] = weakref.WeakSet()
#: Stores of this process; each knows its connection in the thread that looks.
_STORES: weakref.WeakSet[Connected] = weakref.WeakSet()


def guarded(method: Callable[..., Found]) -> Callable[..., Found]:
    """A method of the store that repairs what it finds damaged and tries again."""

    @functools.wraps(method)
    def call(self: Connected, *args: object, **kwargs: object) -> Found:
        try:
            return method(self, *args, **kwargs)
        except Damaged as error:
            self._repair(error)
            return method(self, *args, **kwargs)

    return call


class Connected:
    """Connections to a database, one a thread, and its repair.

    Args:
        path: of the database, in the lab folder.
    """

    def __init__(self, path: Path):
        self.path, self.folder = path, path.parent
        self._noted: list[str] = []  # repairs that could not be written down
        self._local = threading.local()
        _STORES.add(self)

    @property
    def notes(self) -> list[str]:
        """What was found damaged in the last days by any process, and what became of it, a sentence each."""
        return [*repair_log.recent(self.folder), *self._noted]

    def connection(self) -> database.Connection:
        """This thread's connection, opened anew after a fork and where the file is another one now."""
        local = self._local
        if getattr(local, "pid", None) != os.getpid() or local.db.stamp != database.stamp_of(self.path):
            self._connect()
        return local.db

    def _connect(self) -> None:
        if not self.folder.is_dir():
            raise database.unusable(self.path, _("its folder is gone"))
        before = self._local.db if getattr(self._local, "pid", None) == os.getpid() else None
        if self._lost_log():
            with self._locked():
                if self._lost_log():  # no other process has made it again meanwhile
                    self._abandon()
                    self._note(*store_repair.replace(self.path, _("its write-ahead log was removed")))
        now = database.stamp_of(self.path)
        self._abandon(lambda db: db.is_apart(now))
        database.release([store._local.db for store in _STORES if hasattr(store._local, "db")])
        if store_repair.is_removed(self.path):
            with self._locked():
                if store_repair.is_removed(self.path):
                    store_repair.set_aside(self.path)
        db = database.connect(self.path)
        _OPEN.add(db)
        self._local.db, self._local.pid = db, os.getpid()
        if strangers := store_repair.missing(db, self.folder):
            self._adopt(db, strangers)
        if before is not None and before is not db and before.is_apart(db.stamp):
            for run in store_repair.bring_over(before, db):
                self._renewed(run)
        with contextlib.suppress(StoreError):  # a full disk: next time
            self._note(*store_repair.renew(db, store_repair.outdated(db, self.folder)))

    def _renewed(self, run_id: str) -> None:
        """Called where the rows of a run were changed by a repair."""

    def _adopt(self, db: database.Connection, strangers: list[Path]) -> None:
        """Enter the runs of folders that the database does not know."""
        alone = not db.execute("SELECT 1 FROM runs").fetchone()
        entered, lost = store_repair.adopt(db, strangers)
        if entered and alone:
            told = ngettext(
                "the run store was missing or empty; it was made again with one run.",
                "the run store was missing or empty; it was made again with {n} runs.",
            )
            self._note(told.fill(n=len(entered)))
        elif entered:
            listed = ", ".join(entered)
            self._note(
                _("runs that the run store did not know were taken from their folders: {runs}.", runs=listed)
            )
        self._note(*lost)

    def _lost_log(self) -> bool:
        """Whether this process has the database open, but not the log that has its name."""
        now = database.stamp_of(self.path)
        return any(db.has_lost_its_log(now) for db in _OPEN if db.file == self.path)

    def _abandon(self, which: Callable[[database.Connection], bool] = lambda _unused: True) -> None:
        for db in [db for db in _OPEN if db.file == self.path and which(db)]:
            database.abandon(db)
            _OPEN.discard(db)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of those who replace the database."""
        held = file_lock.exclusive(self.path.with_suffix(".lock"), REPAIR)
        with writable(_("lab folder"), self.folder, "LABKIT_FOLDER"), held:
            yield

    def _repair(self, error: Damaged) -> None:
        """Restore damaged rows, or the whole database, from the run folders."""
        with self._locked():
            if why := database.problems(self.path):
                self._abandon()
                notes = store_repair.replace(self.path, why)
            else:
                notes = store_repair.mend(self.path, error.run)
        self._local.pid = None  # a query that has failed holds on to the state before the repair
        self._note(*notes)

    def _note(self, *notes: str) -> None:
        """Write down repairs, for all who list the runs."""
        for note in notes:
            _LOG.warning("%s: %s", self.folder.name, note)
            try:
                repair_log.add(self.folder, note)
            except OSError:
                self._noted.append(note)

    @contextmanager
    def transaction(self) -> Iterator[database.Connection]:
        db = self.connection()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.rollback()
            raise
