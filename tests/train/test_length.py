"""The default ``max_length``: chosen from the training texts, written into the run, the same when it goes on."""

from __future__ import annotations

import numpy as np
import pytest

import labkit as lk
from labkit.core.config import loads
from labkit.data.text.tokenizer import READ
from labkit.train.experiment import Experiment
from labkit.train.processors import LONGEST, SHORTEST, fitting_length, fitting_vocabulary

BERT = lk.models["bert"](preset="tiny", width=16, depth=1, heads=2, mlp_width=32)


def rows(words: int):
    texts = (f"{'good' if i % 2 else 'bad'} {'word ' * words}{i:02}" for i in range(80))
    return lk.load([{"text": text, "label": str(i % 2)} for i, text in enumerate(texts)])


def test_no_more_than_one_text_in_a_hundred_is_truncated_where_the_model_reads_so_far():
    lengths = np.arange(1, 301)
    assert fitting_length(lengths, BERT) == 320 and (lengths > 320).mean() <= 0.01
    assert fitting_length(np.full(50, 9), BERT) == SHORTEST and fitting_length(np.zeros(0), BERT) == SHORTEST
    assert fitting_length(np.full(50, 9000), BERT) == LONGEST == 512
    assert fitting_length(np.full(50, 9000), BERT.replace(max_length=40)) == 40


@pytest.mark.parametrize(("words", "expected"), [(5, 128), pytest.param(150, None, marks=pytest.mark.soak)])
def test_a_run_names_the_length_it_chose(words, expected, tmp_path):
    data = rows(words)
    usual = {"folder": tmp_path, "background": False, "epochs": 1, "vocabulary": 200, "accept_leakage": True}
    run = lk.fit(data, BERT, **usual)
    length = run.experiment.task.max_length
    whole = (
        lk.Tokenizer.load(run.info.folder / "model").encode(data["train"]["text"], max_length=READ).lengths
    )
    assert length == (expected or -(-int(whole.max()) // 32) * 32)
    assert f"max_length = {length}" in run.toml() and f"max_length={length}" in run.code()
    assert loads(Experiment, (run.info.folder / "experiment.toml").read_text()).task.max_length == length
    assert run.predictor.processor.max_length == length and run.info.summary["truncation"] == {}
    assert not [text for text in run.evaluate().warnings if "Truncated" in text]
    given = lk.fit(data, BERT, max_length=16, **usual)
    assert given.experiment.task.max_length == 16


def test_pictures_have_no_length(tmp_path):
    run = lk.fit("digits", lk.models["mlp"](widths=(8,)), folder=tmp_path, background=False, epochs=1)
    assert run.experiment.task.max_length is None and "max_length" not in run.toml()
    assert run.predict(lk.load("digits")["train"].with_format("numpy")["image"][:2])


@pytest.mark.parametrize(
    ("characters", "pieces"), [(0, 1000), (80_000, 1000), (160_079, 2000), (10_000_000, 8000)]
)
def test_the_default_vocabulary_has_a_piece_for_every_eighty_characters(characters, pieces):
    assert fitting_vocabulary(["x" * (characters // 2)] * 2 + ["x" * (characters % 2)]) == pieces
