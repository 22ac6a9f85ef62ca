"""The app of Gradio that an export writes: it starts, and its API answers as the predictor does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import labkit as lk

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

RUN = """
import os, sys
sys.path.insert(0, {folder!r})
import app
from gradio_client import Client
app.app.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
answer = Client(app.app.local_url, verbose=False).predict({text!r}, api_name="/predict")
found = sorted((each["label"], each["confidence"]) for each in answer["confidences"])
print("ANSWER", answer["label"], *(f"{{name}}={{chance:.5f}}" for name, chance in found))
app.app.close()
"""


def test_the_app_answers_as_the_predictor(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    pytest.importorskip("gradio_client")
    rows = lk.load(Path(__file__).parents[1] / "reviews.csv")
    settings = {
        "epochs": 1,
        "vocabulary": 300,
        "max_length": 32,
        "batch_size": 32,
        "name": "a 'quoted' \"name\" 😀",
    }
    run = lk.fit(
        rows, lk.models["textcnn"](preset="tiny"), folder=tmp_path / "lab", background=False, **settings
    )
    folder, text = run.export(tmp_path / "model", apps=["gradio"]), "A warm, funny film."
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(folder=str(folder), text=text)], capture_output=True, text=True, timeout=600,
        env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = re.search(r"ANSWER (\w+) (.*)", done.stdout)
    assert found is not None
    known = run.predict(text)
    chances = sorted(f"{name}={chance:.5f}" for name, chance in known.probability.items())
    assert found[1] == known.label and found[2].split() == chances
