"""End the threads that train before the interpreter is torn down.

A daemon thread that is inside JAX when the interpreter ends would be killed there, and its C++ code then aborts
the whole process (exit status -6). So at exit each such thread is given the time of a step to leave its loop.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref

#: Seconds that the end of the interpreter waits for the threads that train; Jupyter kills a kernel after 5.
WAIT = 3.0

_ending = threading.Event()
_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class InterpreterEndingError(RuntimeError):
    """The interpreter ends under a thread that trains; its run is interrupted, not failed."""


def leave_before_exit(thread: threading.Thread) -> None:
    """Have the end of the interpreter wait for a thread, which calls :func:`check_interpreter` in its loop."""
    _threads.add(thread)


def check_interpreter() -> None:
    """Leave the loop of a thread where the interpreter ends.

    Raises:
        InterpreterEndingError: it does.
    """
    if _ending.is_set():
        raise InterpreterEndingError("the interpreter ends")


@atexit.register
def _wait() -> None:
    _ending.set()
    deadline = time.monotonic() + WAIT
    for thread in list(_threads):
        if thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))
