"""A page that is opened while a cell runs, as its kernel sees it: what it asks first is answered beside the cell."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty
from typing import Any

import ipykernel
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

from labkit.app import kernel_subshell

pytestmark = pytest.mark.skipif(ipykernel.version_info[0] < 7, reason="ipykernel < 7 has no subshells")

BEGIN = """import os, threading, time
os.environ["JPY_SESSION_NAME"] = "a page"
from ipywidgets import IntText
from labkit.app.kernel_subshell import answer_in_subshell
box = IntText(7)
for _ in range(50):
    answer_in_subshell()
end = time.monotonic() + 20
while not (found := [t for t in threading.enumerate() if t.name.startswith("subshell")]) and time.monotonic() < end:
    time.sleep(0.05)
assert len(found) == 1"""
BUSY = "while box.value == 7 and time.monotonic() < end + 60: time.sleep(0.05)\nbox.value"


@pytest.fixture(scope="module")
def client() -> Iterator[BlockingKernelClient]:
    """A client of a kernel with a widget, whose doors are open."""
    manager, client = start_new_kernel()
    reply = client.execute_interactive(BEGIN, timeout=60, output_hook=lambda message: None)
    assert reply["content"]["status"] == "ok", reply["content"]
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def told(client: BlockingKernelClient, kind: str, **content: Any) -> Any:
    """What the kernel answers to a message of the shell, or what a comm says to it."""
    message = client.session.msg(kind, content, metadata={"version": "1.0.0"})
    client.shell_channel.send(message)
    if kind.endswith("request"):
        return next(reply for reply in iter(lambda: client.get_shell_msg(timeout=20), None)
                    if reply["parent_header"].get("msg_id") == message["header"]["msg_id"])["content"]  # fmt: skip
    while True:
        said = client.get_iopub_msg(timeout=20)
        if said["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            continue
        if (
            said["msg_type"] in ("comm_msg", "status")
            and said["content"].get("execution_state", "idle") == "idle"
        ):
            return said["content"]


def test_what_a_page_opens_with_is_answered_while_a_cell_runs(client: BlockingKernelClient):
    client.execute(BUSY)
    assert "kernel subshells" in told(client, "kernel_info_request")["supported_features"]
    (widget, *_) = [
        comm for comm, of in told(client, "comm_info_request", target_name="jupyter.widget")["comms"].items()
        if of["target_name"] == "jupyter.widget"
    ]  # fmt: skip
    told(client, "comm_open", comm_id="page", target_name=kernel_subshell.CONTROL, data={})
    states = told(client, "comm_msg", comm_id="page", data={"method": "request_states"})["data"]
    assert widget in states["states"] and 7 in [
        state["state"].get("value") for state in states["states"].values()
    ]
    # a change is for the cell to see when it is done, as ever: only what a page opens with goes ahead
    box = next(key for key, state in states["states"].items() if state["state"].get("value") == 7)
    update = {"method": "update", "state": {"value": 8}}
    client.shell_channel.send(client.session.msg("comm_msg", {"comm_id": box, "data": update}))
    with pytest.raises(Empty):
        client.get_shell_msg(timeout=0.5)


def test_other_messages_are_left_as_they_are():
    def opens(kind: str, **content: Any) -> bool:
        return kernel_subshell.opens_subshell(kind, lambda: content)

    assert opens("kernel_info_request") and opens("comm_open", target_name=kernel_subshell.CONTROL)
    assert opens("comm_msg", data={"method": "request_state"})
    for kind, content in (
        ("execute_request", {}), ("complete_request", {}), ("comm_close", {}), ("comm_open", {"target_name": "mine"}),
        ("comm_msg", {"data": {"method": "update"}}), ("comm_msg", {"data": "request_states"}), ("comm_msg", {}),
    ):  # fmt: skip
        assert not opens(kind, **content), kind
