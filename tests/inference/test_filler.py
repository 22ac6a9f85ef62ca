"""Hidden words and next sentences: the rows that are read, the numbers of the model itself, and what a model cannot."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import labkit as lk
from labkit.core.config import loads
from labkit.core.errors import ConfigError, DataError, WeightsError
from labkit.train.context import load_model
from labkit.train.experiment import Experiment

LINES = [
    {"text": f"the {animal} sees the {other} near the {place} number {number} .", "label": "book"}
    for number in range(8) for animal, other, place in (("cat", "dog", "tree"), ("cow", "hen", "house"))
]  # fmt: skip
TINY = {"depth": 1, "width": 32, "heads": 2, "mlp_width": 64, "dropout": 0.0, "attention_dropout": 0.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    model = lk.models["bert"](preset="tiny", max_length=40, **TINY)
    return lk.fit(
        lk.load(LINES * 12, text="text", label="label"), model, task="pretrain", background=False, epochs=18,
        folder=tmp_path_factory.mktemp("lab"), batch_size=16, max_length=32, vocabulary=120, learning_rate=5e-3,
        buckets=1, accept_leakage=True,
    )  # fmt: skip


def test_a_hidden_word_is_told(run):
    (guesses,) = run.fill("the cat sees the [MASK] near the tree")
    assert guesses[0].token == "dog" and guesses[0].probability > 0.1 and len(guesses) == 5
    assert [guess.probability for guess in guesses] == sorted((g.probability for g in guesses), reverse=True)
    two = run.fill("the [MASK] sees", "near the [MASK]", top=2)
    assert [len(each) for each in two] == [2, 2]


def test_the_numbers_are_those_of_the_model(run, tmp_path):
    folder = run.export(tmp_path / "out")
    module, _, inputs = load_model(loads(Experiment, (folder / "labkit.toml").read_text()), folder)
    tokenizer = inputs.tokenizer
    row = tokenizer.encode(["the cat sees the dog"], ["near the tree"])
    ids, types = row.ids[None].copy(), row.types[None].astype(np.int32)
    ids[0, 5] = tokenizer.mask_id

    @jax.jit
    def asked(ids, types):
        seen = module.backbone(ids, ids >= 0, types)
        words = module.head.mlm_logits(seen.hidden, module.backbone.embeddings.word.embedding[...])
        return jax.nn.softmax(words[0, 5]), jax.nn.softmax(module.head.nsp_logits(seen.pooled)[0])

    words, follows = asked(ids, types)
    filler = lk.FillMaskPipeline(folder)
    (guesses,) = filler.fill("the cat sees the [MASK]", "near the tree")
    for guess in guesses:
        number = tokenizer.names(range(tokenizer.vocab_size)).index(guess.token)
        assert guess.probability == pytest.approx(float(words[number]), abs=1e-5)
    hidden = filler.follows("the cat sees the [MASK]", "near the tree")
    assert hidden == pytest.approx(float(follows[0]), abs=1e-5)
    ids[0, 5] = row.ids[5]
    follows = asked(ids, types)[1]
    assert filler.follows("the cat sees the dog", "near the tree") == pytest.approx(
        float(follows[0]), abs=1e-5
    )
    assert run.follows("the cat sees the dog", "near the tree") == filler.follows(
        "the cat sees the dog", "near the tree"
    )
    (folder / "labkit.toml").unlink()  # then it is a folder as others write it
    again = lk.FillMaskPipeline(str(folder))
    assert again.fill("the cat sees the [MASK]", "near the tree") == [guesses]
    assert again.follows("the cat", "the dog") == pytest.approx(
        filler.follows("the cat", "the dog"), abs=1e-6
    )


def test_what_cannot_be_told_is_said(run, finished, tmp_path):
    with pytest.raises(DataError, match=r"'the cat' contains no mask token: write \[MASK\]"):
        run.fill("the cat")
    with pytest.raises(DataError, match="a row of 44 tokens exceeds the maximum of 40"):
        run.fill("[MASK] " + "the " * 41)
    with pytest.raises(
        WeightsError, match="'model' is a model of the task 'classify'; FillMaskPipeline opens"
    ):
        finished.fill("a [MASK] film")
    with pytest.raises(WeightsError, match="have no masked-language-model head"):
        folder = finished.export(tmp_path / "out")
        (folder / "labkit.toml").unlink()
        lk.FillMaskPipeline(str(folder))


@pytest.mark.samples
def test_real_weights_with_one_head_of_two():
    model = lk.FillMaskPipeline("bert-tiny")
    (guesses,) = model.fill(
        "The capital of [MASK] is Paris.", top=20
    )  # tuned to find texts: its guesses are of a kind
    assert (
        len({guess.token for guess in guesses}) == 20 and 0 < sum(guess.probability for guess in guesses) < 1
    )
    with pytest.raises(ConfigError, match="without next-sentence prediction"):
        model.follows("Hello.", "Goodbye.")
