"""Kernel subshell: answer widget state requests of newly opened pages while a cell is running.

 A page that is opened anew asks three things before it can show any widget: what the kernel can do, a comm
for the state of all widgets, and that state. JupyterLab asks them on the kernel's main shell, where they wait
for the cell that runs; only what comes later goes to the subshell that it keeps for widgets. Kernels with
subshells (ipykernel 7) read messages in a separate thread, so here the three are handed to a subshell too.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from labkit.core.frontend import hears_while_busy

#: What a page asks about the kernel itself.
ABOUT = ("kernel_info_request", "comm_info_request")
#: The comm over which a page asks for the state of all widgets, and how it asks for that of all or of one.
CONTROL, STATES = "jupyter.widget.control", ("request_states", "request_state")
#: Seconds that the kernel has to open a subshell.
PATIENCE = 20

_LOG = logging.getLogger("labkit.app")
_once = threading.Lock()  # taken by the first who asks, and never given back


def answer_in_subshell() -> None:
    """Let pages that are opened while a cell runs see the widgets there are; done once in a kernel, where it
    can be."""
    if not hears_while_busy():
        return
    kernel = sys.modules["IPython"].get_ipython().kernel
    if hasattr(kernel, "shell_channel_thread_main") and _once.acquire(blocking=False):
        threading.Thread(target=_begin, args=(kernel,), name="labkit subshell", daemon=True).start()


def _begin(kernel: Any) -> None:
    try:
        subshell = _subshell()
    except Exception:
        _LOG.warning("pages that are opened while a cell runs will wait for it: no subshell", exc_info=True)
        return

    async def first(message: list[Any]) -> None:
        await kernel.shell_channel_thread_main(_led(kernel.session, message, subshell))

    loop = kernel.shell_channel_thread.io_loop  # the stream is that thread's
    loop.add_callback(lambda: kernel.shell_stream.on_recv(first, copy=False))


def _subshell() -> str:
    """Open a subshell as any client does, and return its id (Jupyter's enhancement proposal 91)."""
    from ipykernel import get_connection_file
    from jupyter_client.blocking.client import BlockingKernelClient

    client = BlockingKernelClient(connection_file=get_connection_file())
    client.load_connection_file()
    try:
        channel = client.control_channel
        message = client.session.msg("create_subshell_request")
        channel.send(message)
        while (reply := channel.get_msg(timeout=PATIENCE))["parent_header"].get("msg_id") != message[
            "header"
        ]["msg_id"]:
            pass
        return reply["content"]["subshell_id"]
    finally:
        client.stop_channels()


def _led(session: Any, message: list[Any], subshell: str) -> list[Any]:
    """The message, addressed to the subshell if it is one of those that a page opens with."""
    try:
        idents, frames = session.feed_identities(message, copy=False)
        told = session.deserialize(frames, content=False, copy=False)
        if told["header"].get("subshell_id") or not opens_subshell(
            told["msg_type"], lambda: session.unpack(told["content"])
        ):
            return message
        told["header"]["subshell_id"] = subshell
        frame = type(message[-1])
        return [frame(part) for part in session.serialize(told, idents)]
    except Exception:  # the kernel will say what is wrong with it
        return message


def opens_subshell(kind: str, content: Callable[[], dict[str, Any]]) -> bool:
    """Whether a page asks so before it can show a widget, and changes nothing by it."""
    if kind == "comm_open":
        return content().get("target_name") == CONTROL
    if kind == "comm_msg":
        data = content().get("data")
        return isinstance(data, dict) and data.get("method") in STATES
    return kind in ABOUT
