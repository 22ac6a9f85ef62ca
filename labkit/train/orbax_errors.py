"""Hooks that silence tracebacks of Orbax's threads when a save fails; the run reports the error itself."""

from __future__ import annotations

import functools
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any


@functools.cache
def silence_orbax() -> None:
    """Print no tracebacks of threads of Orbax in this process; all others go where they went before."""
    thread_hook, callback_hook = threading.excepthook, sys.unraisablehook

    def of_thread(args: Any) -> None:
        if not _of_orbax(args.exc_value, args.exc_traceback):
            thread_hook(args)

    def of_callback(args: Any) -> None:
        if not _of_orbax(args.exc_value, args.exc_traceback):
            callback_hook(args)

    threading.excepthook, sys.unraisablehook = of_thread, of_callback
    logging.getLogger("asyncio").addFilter(lambda record: not _logged_of_orbax(record))


def _logged_of_orbax(record: logging.LogRecord) -> bool:
    """Whether the event loop reports an error of an Orbax write that nobody waits for any more."""
    trace = record.exc_info[2] if record.exc_info else None
    return any("orbax" in frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace))


def _of_orbax(error: BaseException | None, trace: TracebackType | None) -> bool:
    """Whether an error was raised in a thread of Orbax, or by a write that came back after a save had failed."""
    if threading.current_thread() is threading.main_thread():
        return False
    frames = [frame.f_code for frame, _ in traceback.walk_tb(trace)]
    late = isinstance(error, RuntimeError) and "Event loop is closed" in str(error)
    return any(
        "orbax" in code.co_filename or (late and code.co_name == "call_soon_threadsafe") for code in frames
    )
