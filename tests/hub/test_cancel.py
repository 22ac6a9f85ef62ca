"""A download is cancelled: it ends soon, its processes too, and leaves no file."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from labkit.app.state import State
from labkit.app.steps import model as step
from labkit.hub import download, pretrained, samples
from labkit.hub.download import Cancelled, cancelled_by, run_client

SLOW = "import pathlib, time\npathlib.Path('half').write_text('x')\ntime.sleep(60)"


def test_a_client_is_ended_and_the_cache_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.delenv("LABKIT_SAMPLES", raising=False)
    monkeypatch.delenv("LABKIT_OFFLINE", raising=False)
    tried = []

    def command(self, work: Path) -> list[str]:
        tried.append(work)
        return [sys.executable, "-c", SLOW]

    monkeypatch.setattr(download.PyPI, "command", command)
    event = threading.Event()
    threading.Timer(0.8, event.set).start()
    begin = time.monotonic()
    with cancelled_by(event), pytest.raises(Cancelled, match="cancelled"):
        samples.folder("minilm-l6", False)
    assert time.monotonic() - begin < 20 and len(tried) == 1  # no other source is tried
    assert not [path for path in (tmp_path / "samples").iterdir() if path.suffix != ".lock"]
    assert download.canceller() is None
    with cancelled_by(event), pytest.raises(Cancelled):  # at once
        samples.folder("minilm-l6", False)


def test_a_client_that_is_not_cancelled_is_waited_for(tmp_path: Path):
    with cancelled_by(threading.Event()):
        run_client([sys.executable, "-c", "open('done', 'w').close()"], tmp_path)
    assert (tmp_path / "done").exists()


def test_a_download_of_the_hub_removes_its_half_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    blobs = tmp_path / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    event = threading.Event()

    def snapshot(repo: str, tqdm_class, **given: object) -> str:
        (blobs / "abc.incomplete").write_text("half")
        with tqdm_class(total=10, disable=True) as bar:
            bar.update(1)
            event.set()
            bar.update(1)
        raise AssertionError("it goes on")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with cancelled_by(event), pytest.raises(Cancelled):
        pretrained.find(f"org/name@{'a' * 40}")
    assert not list(blobs.iterdir())


def test_the_step_model_offers_to_cancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import labkit as lk

    monkeypatch.chdir(tmp_path)
    texts = {"text": [f"some words {n}" for n in range(40)], "label": ["a", "b"] * 20}
    panel = step.Model(lk.load(texts), state=State(language="en"))
    panel.which.value = "bert"
    panel.settle()
    panel.preset.value = "tiny"  # without weights
    before = panel.state.model
    started = threading.Event()

    def slow(name: str, report) -> Path:
        report(5, 10)
        started.set()
        while True:
            download.check_cancelled()
            time.sleep(0.01)

    monkeypatch.setattr(step, "folder", slow)
    monkeypatch.setattr(step, "is_cached", lambda name: False)
    panel.preset.value = "minilm-l6"
    assert started.wait(20) and panel.fetching.layout.display == ""
    assert panel.arrived.value == 5 and panel.arrived.max == 10
    panel.cancel.click()
    panel.settle()
    assert panel.problem is None and panel.state.model == before and panel.fetching.layout.display == "none"
    assert "cancelled" in panel.none.value and panel.preset.value == before.preset
    started.clear()
    panel.state.model = lk.models["textcnn"](preset="tiny")
    panel.which.value = "textcnn"
    panel.which.value = "bert"  # begins with pretrained weights
    assert started.wait(20)
    panel.cancel.click()
    panel.settle()
    assert panel.problem is None and panel.state.model.weights == "" and panel.which.value == "bert"
    panel.close()
