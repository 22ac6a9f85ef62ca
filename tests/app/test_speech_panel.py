"""Speech in the panels: sounds with transcripts, the model, evaluation with aligned errors, and recordings."""

from __future__ import annotations

import numpy as np
import pytest

import labkit as lk
from labkit.app.goals import Chosen, guess, of_options
from labkit.app.state import State
from labkit.app.steps.data import Data
from labkit.app.steps.evaluate import Evaluate
from labkit.app.steps.model import Model
from labkit.app.steps.predict import Predict
from tests.shown import send
from tests.spoken import RATE, folder_of_tones, sound

MODEL = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 16, "kernel": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of_tones(tmp_path_factory.mktemp("speech") / "tones", 24)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    rows = lk.load(str(folder), transcript="said", rate=RATE).split(validation=0.2, test=0.2)
    settings = {"epochs": 1, "batch_size": 8, "bands": 16, "buckets": 1}
    model = lk.models["conformer"](**MODEL)
    return lk.fit(rows, model, folder=tmp_path_factory.mktemp("lab"), background=False, **settings)


def settled(panel):
    panel.settle(120)
    assert panel.problem is None, panel.problem
    return panel


def test_a_table_that_names_sounds_is_offered_as_transcription(folder, tmp_path):
    chosen = guess({"file": ["0.wav", "1.WAV"], "transcription": ["a b", "c"], "speaker": ["x", "x"]})
    assert chosen == Chosen("transcribe", label=False, transcript="transcription")
    assert of_options(chosen.options()) == chosen and chosen.options() == {"transcript": "transcription"}
    state = State(folder=tmp_path, language="en")
    data = settled(Data(state=state))
    data.way.value, data.path.value = "path", str(folder)
    data.load.click()
    settled(data)
    assert data.goal.value == "transcribe" and data.transcript.value == "said"
    assert state.rows.schema.transcript == "said" and "transcript='said')" in data.code()
    assert "<audio" in data.browser.page.value and "Transcript" in data.browser.page.value
    model = settled(Model(state=state))
    assert [name for _label, name in model.which.options] == ["conformer"]
    assert "lk.models['conformer']" in model.code().replace('"', "'")
    for panel in (data, model):
        panel.close()


@pytest.mark.parametrize(
    ("language", "words"),
    [
        pytest.param("en", ("Error rates beside baselines", "substitution"), marks=pytest.mark.soak),
        ("zh", ("错误率与基线对照", "替换")),
    ],
)
def test_a_run_is_evaluated_and_transcribes(run, language, words):
    evaluate = settled(Evaluate(run, language=language))
    assert all(word in evaluate.scores.value for word in words)
    predict = settled(Predict(run, language=language))
    predict.go.click()
    predict.settle(60)
    assert predict.problem is not None, "nothing was recorded"
    predict.any.click()
    settled(predict)
    assert "<audio" in predict.answer.value and "lk-edits" in predict.answer.value
    samples = sound("abc", np.random.default_rng(0))
    send(predict.asking.microphone, {"type": "sound", "name": "<b>mine</b>"}, memoryview(samples.tobytes()))
    settled(predict)
    assert "&lt;b&gt;mine" in predict.answer.value and "<b>mine" not in predict.answer.value
    assert "run.transcribe(" in predict.code()
    predict.asking.beam.value = True
    predict.go.click()
    settled(predict)
    assert "beams=16" in predict.code()
    refused = {"type": "refused", "name": "microphone", "error": "NotAllowedError"}
    send(predict.asking.microphone, refused)
    assert "NotAllowedError" in str(predict.problem)
