"""The progress bar: on a terminal a bar below a table of evaluations, elsewhere a line an evaluation."""

from __future__ import annotations

import io

import pytest

from labkit.runs.progress import ProgressBar
from labkit.runs.store import Store


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.create("a", "reviews", steps=10, status="running")
    return store


def learn(store: Store) -> None:
    store.write(
        "a",
        [(1, "train", "loss", 0.7), (1, "train", "f1", 0.5)],
        step=1,
        summary={"examples_per_second": 320},
    )
    store.write("a", [(5, "validation", "loss", 0.6), (5, "validation", "f1", 0.8125)], step=5)


def test_a_terminal_shows_loss_f1_speed_and_time_left(store, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    screen = Terminal()
    bar = ProgressBar(store, "a", screen)
    bar.update()
    learn(store)
    bar.update()
    line = screen.getvalue().split("\r")[-1]
    for part in ("reviews", "5/10", "loss 0.700", "F1 0.500", "val loss 0.600", "320 examples/s", "<"):
        assert part in line
    assert "epoch      step      loss  val loss        F1      time\n" in screen.getvalue()
    assert "    5    0.7000    0.6000    0.8125" in screen.getvalue()
    store.update("a", status="stopped")
    bar.close()
    assert screen.getvalue().endswith("reviews: stopped after step 5 of 10\n")


@pytest.mark.parametrize("width", [40, 60, 80, 110])
def test_a_bar_fits_a_line_of_any_width(store, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    store.update("a", name="a long name for a run of reviews", steps=123_456)
    screen = Terminal()
    bar = ProgressBar(store, "a", screen)
    learn(store)
    bar.update()
    line = screen.getvalue().split("\r")[-1]
    assert "%|" in line and len(line.rstrip()) <= width and ("loss" in line) == (width >= 110)
    bar.close()


def test_a_log_gets_a_line_an_evaluation(store):
    log = io.StringIO()
    bar = ProgressBar(store, "a", log)
    learn(store)
    bar.update()
    bar.update()
    store.update("a", status="finished", summary={"advice": ["train for more epochs."]})
    bar.close()
    assert log.getvalue().splitlines() == [
        "step 5 of 10: loss 0.7000, validation loss 0.6000, F1 0.8125",
        "reviews: finished after step 5 of 10",
        "reviews: train for more epochs.",
    ]


@pytest.mark.parametrize("live", [False, True])
def test_names_and_warnings_cannot_steer_the_terminal(tmp_path, live):
    store = Store(tmp_path)
    store.create("a", "x\x1b[2J\ny", steps=10, status="running")
    screen = Terminal() if live else io.StringIO()
    bar = ProgressBar(store, "a", screen)
    store.write("a", [(5, "validation", "f1\x9b31m", 0.5)], step=5,
                summary={"reported": ["f1\x9b31m"], "warnings": ["class \x1b]0;t\x07 \u202eis rare"],
                         "advice": ["\x1b[2J\u202e"]})  # fmt: skip
    bar.update()
    store.update("a", status="stopped", message="\x1b[31m")
    bar.close()
    said = screen.getvalue()
    assert "class ␛]0;t␇ \\u202eis rare" in said and "x␛[2J␊y: stopped after step 5" in said
    assert not any(char in said for char in ("\x1b[2J", "\x1b[31", "\x1b]", "\x07", "\x9b", "\u202e"))
