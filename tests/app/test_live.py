"""The live panel without a browser: what it sends, what it writes into the run store, and what it gives back."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comm
import comm.base_comm
import pytest

import labkit.app
from labkit.app import live, live_picture
from labkit.app.live import LivePanel
from labkit.app.live_picture import PicturePanel
from labkit.app.ticker import Ticker
from labkit.app.widgets.controls import tree
from labkit.runs.handle import RunHandle
from labkit.runs.store import Store
from labkit.viz.series import DRAWN
from tests.shown import open_widgets, send


class Comm(comm.base_comm.BaseComm):
    """Keeps what would go to the page."""

    sent: list[dict[str, Any]] = []  # noqa: RUF012

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        self.sent.append({"type": msg_type, "data": data, "comm": self.comm_id})


class FakeRun(RunHandle):
    def code(self) -> str:
        return "lk.fit(rows)"


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(comm, "create_comm", lambda *a, **k: Comm(*a, **k))
    monkeypatch.setattr(Comm, "sent", [])
    return Comm.sent


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[dict[str, Any], str, bool]]]:
    """What was shown: (MIME bundle, display id, whether in place of an earlier one). Nothing ticks by itself."""
    shown: list[tuple[dict[str, Any], str, bool]] = []
    for module in (live, live_picture):
        monkeypatch.setattr(
            module, "publish", lambda data, id, update=False: shown.append((data, id, update))
        )
    monkeypatch.setattr(live.TICKER, "add", lambda member: None)
    yield shown
    for panel in list(LivePanel.open_panels.values()):
        panel.close()


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return make(tmp_path, "run-1")


def make(folder: Path, id: str, **values: Any) -> FakeRun:
    store = Store(folder)
    toml = "[train.optimizer]\nlearning_rate = 2e-5\n"
    store.create(id, "name", **{"experiment": toml, "status": "running", "steps": 1000, **values})
    return FakeRun(store, id)


def write(run: RunHandle, first: int, last: int) -> None:
    records = [(step, "train", "loss", 1 / step) for step in range(first, last + 1)]
    run.store.write(
        run.id, [*records, (last, "train", "f1", 0.5), (last, "validation", "f1", 0.25)], step=last
    )


def messages(panel: LivePanel) -> list[dict[str, Any]]:
    """Custom messages to the curves since the last call."""
    mine = [
        m for m in Comm.sent if m["comm"] == panel.curves.comm.comm_id and m["data"].get("method") == "custom"
    ]
    Comm.sent.clear()
    return [m["data"]["content"] for m in mine]


def hello(panel: LivePanel) -> None:
    send(panel.curves, {"type": "hello"})


def commands(run: RunHandle) -> list[tuple[str, Any]]:
    return [(command.name, command.value) for command in run.store.take(run.id, 0)]


# --- what is sent -----------------------------------------------------------------------------------------------


def test_hello_is_answered_with_the_history_and_then_with_news_only(run: FakeRun):
    panel = LivePanel.of(run)
    write(run, 1, 3)
    hello(panel)
    panel.refresh()
    (first,) = messages(panel)
    assert first["type"] == "snapshot" and first["seq"] == 5
    assert first["series"]["train/loss"] == [[1, 2, 3], [1.0, 0.5, 0.3333]]
    write(run, 4, 4)
    panel.refresh()
    (second,) = messages(panel)
    assert (second["type"], second["from"], second["seq"]) == ("append", 5, 8)
    assert second["series"]["train/loss"] == [[4], [0.25]]
    assert second["info"]["facts"][0] == "step 4 of 1000"
    panel.refresh()
    assert messages(panel) == []


def test_news_reach_the_page_without_hello_too(run: FakeRun):
    panel = LivePanel.of(run)
    write(run, 1, 3)
    panel.refresh()
    write(run, 4, 6)
    panel.refresh()
    assert [(m["from"], m["seq"]) for m in messages(panel)] == [(0, 5), (5, 10)]


def test_a_run_that_went_back_is_sent_whole(run: FakeRun):
    panel = LivePanel.of(run)
    write(run, 1, 6)
    panel.refresh()
    messages(panel)
    run.store.forget_after(run.id, 3)
    write(run, 4, 5)
    panel.refresh()
    (message,) = messages(panel)
    assert message["type"] == "snapshot"
    assert message["series"]["train/loss"][0] == [1, 2, 3, 4, 5]
    assert message["series"]["train/f1"] == [[5], [0.5]]


def test_opening_and_updates_are_small_whatever_the_length(run: FakeRun, sent: list[dict[str, Any]]):
    run.store.write(run.id, [(s, split, name, 1 / s) for s in range(1, 20_001) for split, name in DRAWN])
    panel = LivePanel.of(run)
    hello(panel)
    # The page answers: otherwise a panel that is slow to write all this adds the picture for pages that do not.
    send(panel.curves, {"type": "ack"})
    panel.refresh()
    assert len(json.dumps([m["data"] for m in sent])) < 200_000
    snapshot = messages(panel)[0]
    assert all(len(x) <= 2000 for x, _ in snapshot["series"].values())
    run.store.write(run.id, [(s, split, name, 1 / s) for s in range(20_001, 25_001) for split, name in DRAWN])
    panel.refresh()  # half a second of 10,000 updates a second
    news = messages(panel)
    assert len(news) == 1 and len(json.dumps(news)) < 20_000
    assert news[0]["series"]["train/loss"][0][-1] == 25_000  # the last value is never lost


def test_flood_ten_thousand_records_a_second_cost_ten_messages(run: FakeRun, sent: list[dict[str, Any]]):
    """Two seconds of it, under the ticker that panels really have."""
    panel, ticker, step = LivePanel.of(run), Ticker(), 0
    hello(panel)
    ticker.add(panel)
    time.sleep(0.3)
    sent.clear()  # what opens the panel
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < 2:
        if (wanted := int(10_000 * now)) > step:
            run.store.write(
                run.id, [(s, "train", "loss", 1 / s) for s in range(step + 1, wanted + 1)], step=wanted
            )
            step = wanted
        time.sleep(0.02)
    flooded = len(sent)
    time.sleep(1.5)  # two refreshes more
    ticker.discard(panel)
    assert step > 9_000 and flooded <= 2 * 10
    news = [m["data"]["content"] for m in sent if m["data"].get("method") == "custom"]
    assert max(len(json.dumps(message)) for message in news) < 20_000
    last = [message["series"]["train/loss"] for message in news if "train/loss" in message.get("series", {})][
        -1
    ]
    assert last[0][-1] == step and last[1][-1] == pytest.approx(1 / step, rel=1e-3)


def test_words_and_numbers_are_json_even_if_a_value_is_not_finite(run: FakeRun):
    panel = LivePanel.of(run)
    run.store.write(run.id, [(1, "train", "loss", float("nan")), (2, "train", "loss", float("inf"))])
    panel.refresh()
    (message,) = messages(panel)
    assert json.loads(json.dumps(message, allow_nan=False))["series"]["train/loss"] == [[1, 2], [None, None]]


# --- controls ---------------------------------------------------------------------------------------------------


def test_buttons_write_commands(run: FakeRun):
    panel = LivePanel.of(run)
    panel.rate.value = "5e-4"
    for button in (panel.pause, panel.save, panel.set, panel.stop):
        button.click()
    assert commands(run) == [
        ("pause", None),
        ("save", None),
        ("set", {"learning_rate": 5e-4}),
        ("stop", None),
    ]


def test_pause_becomes_resume_while_the_run_is_paused(run: FakeRun):
    panel = LivePanel.of(run)
    run.store.update(run.id, status="paused")
    panel.refresh()
    assert panel.pause.description == "Resume"
    panel.pause.click()
    assert commands(run) == [("resume", None)]
    run.store.update(run.id, status="running")
    panel.refresh()
    assert panel.pause.description == "Pause"


def test_what_was_asked_is_told_until_it_is_taken(run: FakeRun):
    panel = LivePanel.of(run)
    panel.stop.click()
    panel.refresh()
    assert panel.note.value == "Stop: requested; takes effect at the next step"
    run.store.take(run.id, 1)
    panel.refresh()
    assert panel.note.value == ""


def test_the_rate_begins_at_the_experiments(run: FakeRun):
    assert LivePanel.of(run).rate.value == "2e-5"


def test_saving_and_a_new_rate_are_confirmed_with_their_step(run: FakeRun):
    panel = LivePanel.of(run)
    panel.save.click()
    run.store.take(run.id, 17)
    panel.refresh()
    assert panel.note.value == "Saving the checkpoint of step 17 …"
    (run.info.folder / "checkpoints" / "step_17").mkdir(parents=True)
    panel.refresh()
    assert panel.note.value == "Saved at step 17"
    panel.refresh()
    assert panel.note.value == "Saved at step 17"  # it stays until the next request
    panel.rate.value = "1e-4"
    panel.set.click()
    panel.refresh()
    assert "requested" in panel.note.value
    run.store.take(run.id, 20)
    panel.refresh()
    assert panel.note.value == "Peak learning rate 1e-4 from step 21 on"
    assert LivePanel(run).rate.value == "1e-4"


def test_a_checkpoint_that_cannot_be_written_is_not_called_saved(run: FakeRun):
    panel = LivePanel.of(run)
    panel.save.click()
    run.store.take(run.id, 17)
    run.store.update(run.id, summary={"checkpoint_error": "disk full"})
    panel.refresh()
    assert panel.note.value == "disk full"


@pytest.mark.parametrize("rate", ["5", "0.0021"])
def test_a_rate_a_hundred_times_the_present_one_must_be_given_twice(run: FakeRun, rate: str):
    panel = LivePanel.of(run)
    panel.rate.value = rate
    panel.set.click()
    panel.refresh()
    assert commands(run) == [] and f"{rate} is " in panel.note.value and "Press Set again" in panel.note.value
    panel.set.click()
    assert commands(run) == [("set", {"learning_rate": float(rate)})]
    panel.rate.value = "0.0019"  # 95 times the first one
    panel.set.click()
    assert len(commands(run)) == 1


@pytest.mark.parametrize("text", ["fast", "", "-1", "nan", "inf"])
def test_a_rate_that_is_none_is_refused_in_the_panel(run: FakeRun, text: str):
    panel = LivePanel.of(run)
    panel.rate.value = text
    panel.set.click()
    panel.refresh()
    assert "ConfigError" in panel.error.value and commands(run) == []


def callbacks(panel: LivePanel) -> dict[str, Any]:
    """Every callback that the panel's widgets have."""
    found = {}
    for widget in tree([panel.root]):
        for registry in ("_click_handlers", "_msg_callbacks"):
            for number, call in enumerate(getattr(getattr(widget, registry, None), "callbacks", ())):
                if getattr(call, "__self__", None) is not widget:  # not ipywidgets' own
                    found[f"{type(widget).__name__} {getattr(widget, 'description', '')} {number}"] = (
                        widget,
                        call,
                    )
    return found


def test_every_callback_that_fails_says_so_in_the_panel(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    panel = LivePanel.of(run)

    def fail(*arguments: Any, **named: Any) -> None:
        raise OSError("disk <full>")

    found = callbacks(panel)
    assert len(found) == 7  # six buttons and the curves
    for name, (widget, call) in found.items():
        with monkeypatch.context() as patch:
            for method in ("pause", "stop", "save", "set"):
                patch.setattr(run, method, fail, raising=False)
            patch.setattr(panel, "_navigate", fail)
            hostile = type("Hostile", (dict,), {"get": fail})()
            call(widget, hostile, None) if "Curves" in name else call(widget)
        panel.refresh()
        assert "OSError: disk &lt;full&gt;" in panel.error.value, name
        assert "Traceback (most recent call last)" in panel.error.value and run.id in panel.error.value
        panel.problem = None
    assert len(caplog.records) == 7
    panel.refresh()
    assert panel.error.value == ""
    panel.stop.click()  # usable after
    assert commands(run) == [("stop", None)]


def test_a_refresh_that_fails_says_so_and_goes_on(run: FakeRun, monkeypatch: pytest.MonkeyPatch):
    panel = LivePanel.of(run)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "records", lambda *a: (_ for _ in ()).throw(OSError("store away")))
        assert panel.refresh()
    assert "store away" in panel.error.value
    write(run, 1, 2)
    assert panel.refresh()
    assert messages(panel)[-1]["series"]["train/loss"][0] == [1, 2]


# --- the end ----------------------------------------------------------------------------------------------------


def test_the_last_values_come_before_the_end_and_the_result_stays_next_to_the_panel(
    run: FakeRun, published: list[Any]
):
    panel = LivePanel.of(run)
    panel.display()
    assert list(published[0][0]) == ["application/vnd.jupyter.widget-view+json", "text/plain"]
    assert "labkit-kept" in published[1][0]["text/html"]  # what is saved before the run ends
    write(run, 1, 10)
    run.store.update(run.id, status="finished", started=1.0, ended=2.0)
    assert not panel.refresh()
    news, over = messages(panel)
    assert news["series"]["train/loss"][0][-1] == 10 and news["info"]["word"] == "finished"
    data, display_id, update = published[2]
    assert over == {"type": "over", "data": data} and update and display_id == published[1][1]
    assert "data:image/svg+xml," in data["text/html"] and "lk.fit(rows)" in data["text/html"]
    assert run.id not in data["text/plain"]
    assert all(button.disabled for button in (panel.pause, panel.stop, panel.save, panel.set))
    hello(panel)  # a page that was opened again, before the result was saved
    assert not panel.refresh()
    assert [m["type"] for m in messages(panel)] == ["snapshot", "over"]
    assert len(published) == 3


@pytest.mark.parametrize(("status", "offered"), [("finished", True), ("stopped", True), ("failed", False)])
def test_a_run_that_ended_offers_the_next_steps_and_advice(run: FakeRun, status: str, offered: bool):
    panel = LivePanel.of(run)
    panel.refresh()
    assert panel.after.layout.display == "none"
    run.store.update(run.id, status=status, summary={"advice": ["train <longer>"], "warnings": ["no better"]})
    panel.refresh()
    assert (panel.after.layout.display != "none") == offered
    assert ("train &lt;longer&gt;" in panel.advice.value) == ("no better" in panel.advice.value) == offered
    assert ("no better" in panel.warned.value) != offered
    assert "train &lt;longer&gt;" in live.kept(run, "en")["text/html"]
    assert panel.pause.disabled == (status == "finished")  # else it says Resume


def test_the_next_steps_open_below_the_panel_or_where_the_lab_shows_them(run: FakeRun):
    run.store.update(run.id, status="finished")
    shown: list[str] = []
    for panel in (LivePanel(run, navigate=shown.append), LivePanel(run)):
        for button in panel.after.children[1].children:
            button.click()
    assert shown == ["evaluate", "predict"]
    (opened,) = panel.below.children
    assert "labkit-bench" in opened._dom_classes
    panel.close()
    assert opened.comm is None


def test_a_failed_run_shows_error_cure_and_traceback(run: FakeRun, published: list[Any]):
    panel = LivePanel.of(run)
    run.store.update(run.id, status="failed", error="E: <b>", cure="do <i>", traceback="T <u>")
    panel.refresh()
    for html in (panel.error.value, published[-1][0]["text/html"]):
        assert all(text in html for text in ("E: &lt;b&gt;", "do &lt;i&gt;", "T &lt;u&gt;", run.id))


def test_a_run_whose_code_cannot_be_written_still_shows_its_file(tmp_path: Path):
    run = RunHandle(make(tmp_path, "run-1").store, "run-1")  # its experiment has no model
    panel = LivePanel.of(run)
    panel.refresh()
    assert "learning_rate = 2e-5" in panel.code.value and panel.error.value == ""


# --- without a script -------------------------------------------------------------------------------------------


def test_a_page_that_does_not_answer_gets_a_picture_and_one_that_does_loses_it(
    run: FakeRun, monkeypatch: Any
):
    panel = LivePanel.of(run)
    panel.display()
    write(run, 1, 5)
    panel.refresh()
    assert panel.picture.value == ""
    monkeypatch.setattr(live, "DEAF", -1.0)
    monkeypatch.setattr(live, "PERIOD", -1.0)
    hello(panel)  # a view that can speak and not hear
    panel.refresh()
    assert "data:image/svg+xml," in panel.picture.value
    send(panel.curves, {"type": "ack", "seq": 7})
    panel.refresh()
    assert panel.picture.value == ""


def test_a_picture_panel_is_renewed_until_the_end(run: FakeRun, published: list[Any], monkeypatch: Any):
    monkeypatch.setattr(live_picture, "PERIOD", 3600.0)
    panel = PicturePanel(run)
    panel.display()
    assert panel.refresh() and panel.refresh()  # renewed once, then too soon
    run.store.update(run.id, status="stopped")
    assert not panel.refresh()
    assert [update for _, _, update in published] == [False, True, True]
    assert "stopped" in published[-1][0]["text/html"]


@pytest.mark.parametrize(("where", "status", "kind"), [
    ("none", "running", None), ("html", "running", "text/html"), ("widgets", "finished", "text/html"),
    ("widgets", "running", "application/vnd.jupyter.widget-view+json"),
])  # fmt: skip
def test_show_suits_the_front_end(
    tmp_path: Path, published: list[Any], monkeypatch: Any, where: str, status: str, kind: Any
):
    monkeypatch.setattr(live, "frontend", lambda: where)
    live.show(make(tmp_path, "run-1", status=status))
    assert [next(iter(data)) for data, _, _ in published][:1] == ([kind] if kind else [])


# --- what is left behind ----------------------------------------------------------------------------------------


def count() -> tuple[int, int]:
    """Widgets and threads there are."""
    return len(open_widgets()), threading.active_count()


def test_fifty_re_runs_leave_one_panel_of_a_run(run: FakeRun):
    LivePanel.of(run).display()
    before = count()
    for _ in range(50):
        LivePanel.of(run).display()
    after = count()
    assert after[0] == before[0] > 10 and after[1] <= before[1]


def test_panels_of_finished_runs_are_few_and_closing_gives_all_back(tmp_path: Path):
    before, highest = count(), 0
    for number in range(50):
        run = make(tmp_path, f"run-{number}")
        panel = LivePanel.of(run)
        run.store.update(run.id, status="finished")
        panel.refresh()
        highest = max(highest, len(LivePanel.open_panels))
    assert highest <= live.KEPT + 2
    for panel in list(LivePanel.open_panels.values()):
        panel.close()
    (widgets, threads), after = before, count()
    assert after[0] == widgets and after[1] <= threads  # what earlier tests left may have ended meanwhile


def test_the_kernels_private_rule_is_taken_back_where_there_is_one(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Comm, "_reply_subshell_for", lambda self, data, default: "main", raising=False)
    panel = LivePanel.of(run)
    for widget in (panel.stop, panel.rate, panel.curves):
        assert widget.comm._reply_subshell_for({}, "widgets' own") == "widgets' own"


def test_the_script_is_small_and_asks_nobody():
    folder = Path(labkit.app.__path__[0])
    script, *styles = ((folder / name).read_text() for name in ("live.js", "live.css", "vscode.css"))
    style = "".join(styles)
    assert len(script) + len(style) < 50_000
    addresses = re.findall(r"https?://[^\s\"']+", script + style)
    assert addresses == ["http://www.w3.org/2000/svg"]  # the name of SVG, never asked for
    assert not re.search(r"innerHTML|\bimport\b|fetch\(|eval\(|url\(", script + style)


# --- restart of the kernel --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "said"), [
    ("ipykernel_launcher.py", "Interrupted by a restart of the kernel at step 38."),
    ("train.py", "Interrupted at step 38: the process that trained it has ended."),
])  # fmt: skip
def test_a_run_whose_process_ended_is_interrupted_and_can_be_resumed(tmp_path: Path, command: str, said: str):
    gone = {"pid": 2**22 + 1, "process": {}}
    run = make(tmp_path, "run-1", step=38, environment={"command": command}, **gone)
    panel = LivePanel.of(run)
    panel.refresh()
    assert said in panel.error.value and "Press Resume to continue" in panel.error.value
    assert "labkit-error" not in panel.error.value
    assert (panel.pause.description, panel.pause.disabled) == ("Resume", False)
    kept = live.kept(run, "en")["text/html"]
    assert said in kept and "lk.open_run" in kept and 'class="labkit-error' not in kept


@pytest.mark.parametrize("language", ["en", "zh"])
def test_one_band_says_that_the_kernel_was_restarted(run: FakeRun, language: str):
    style = LivePanel(run, language).root.children[0].value
    said = {"en": "The kernel was restarted. Run this cell", "zh": "内核已重启"}[language]
    assert said in style and ".jupyter-widgets-disconnected" in style
    bench = labkit.app.Data(language=language)
    assert any(said in getattr(child, "value", "") for child in bench.root.children)
    bench.close()
