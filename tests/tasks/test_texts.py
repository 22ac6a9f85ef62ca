"""What is learned from texts without labels, end to end on little text: every task trains, is judged, kept and used."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from typer.testing import CliRunner

import labkit as lk
from labkit.cli.main import app
from labkit.core.errors import ConfigError, DataError, WeightsError
from labkit.inference import translation
from labkit.models.seq2seq.layers import sinusoids
from labkit.train.context import load_model

WORDS = [
    "the", "a", "small", "old", "red", "big", "dog", "cat", "bird",
    "tree", "house", "sees", "likes", "finds", "near", "under", "and", "then",
]  # fmt: skip
TINY = {"width": 32, "heads": 2, "mlp_width": 64, "dropout": 0.0, "attention_dropout": 0.0, "max_length": 32}
COMMON = {"background": False, "batch_size": 16, "learning_rate": 5e-3, "max_length": 32, "warmup": 0.05}


@pytest.fixture(scope="module")
def text():
    """Rows of a language with a grammar: each word has two that may follow it."""
    random = np.random.default_rng(0)
    after = {word: random.choice(WORDS, 2, replace=False) for word in WORDS}
    rows = []
    for number in range(240):
        word, line = random.choice(WORDS), []
        for _ in range(int(random.integers(6, 14))):
            line.append(word)
            word = random.choice(after[word])
        rows.append({"text": " ".join(line), "label": f"book {number // 120}"})
    return lk.load(rows, text="text", label="label")


@pytest.fixture(scope="module")
def pairs():
    """The second text says the first one backwards, in capitals."""
    random = np.random.default_rng(1)
    rows = []
    for _ in range(200):
        line = random.choice(WORDS[:8], int(random.integers(2, 5)))
        rows.append({"text": " ".join(line), "other": " ".join(line[::-1]).upper()})
    return lk.load(rows, text=("text", "other"), label=False)


def falls(run, name="loss"):
    values = run.history.query("split == 'train'")[name].dropna()
    return values.iloc[-5:].mean() / values.iloc[:3].mean()


def test_pretraining_tells_hidden_words_and_what_follows(text, tmp_path):
    model = lk.models["bert"](preset="tiny", depth=1, **TINY)
    run = lk.fit(text, model, task="pretrain", folder=tmp_path, epochs=8, vocabulary=100, **COMMON)
    scores = run.evaluate("validation")
    assert scores["masked_loss"] < 3.2 < np.log(100) and {"next_accuracy", "next_f1", "perplexity"} <= set(
        scores
    )
    summary = run.info.summary
    assert scores["loss"] == pytest.approx(summary["validation_loss"], rel=1e-4)
    stored = run.export(tmp_path / "out")
    again = lk.models["bert"](weights=str(stored))
    assert again.vocab_size <= 100 and "loss" in repr(scores)
    tuned = lk.fit(text, again, folder=tmp_path, epochs=1, background=False, batch_size=16, max_length=32)
    assert tuned.info.status == "finished"  # and so a classifier begins from what was pretrained
    with pytest.raises(WeightsError, match="was trained for 'pretrain', which has no predict"):
        run.predict(["the dog"])


def test_a_language_model_learns_the_grammar_and_writes_it(text, tmp_path):
    model = lk.models["gpt"](preset="nano", depth=1, width=32, heads=2, dropout=0.0, max_length=64)
    run = lk.fit(
        text, model, task="lm", folder=tmp_path, epochs=20, vocabulary=300, tokenizer="wordpiece", **COMMON
    )
    scores = run.evaluate("validation")
    assert scores["loss"] == pytest.approx(run.info.summary["validation_loss"], rel=1e-4)
    assert (
        scores["perplexity"] < 6
    )  # of eighteen words; with two that may follow each, and the end, it is about three
    told = run.generate(["the", "dog"], max_new_tokens=8)
    assert len(told) == 2 and all(word in WORDS for line in told for word in line.split()) and told[0].split()
    assert run.generate("the", max_new_tokens=8) == told[0]  # a text alone is what it is among others
    free = [run.generate("the", max_new_tokens=8, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert free[0] == free[1] != free[2]
    assert isinstance(run.generate("", max_new_tokens=4, beams=3), str) and run.generate([]) == []
    written = lk.TextGenerationPipeline(run.export(tmp_path / "out")).generate("the", max_new_tokens=8)
    assert written == told[0]
    weights = lk.TextGenerationPipeline(str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="a prompt of 1 tokens plus 90 new tokens exceeds the 64 positions"):
        weights.generate("the", max_new_tokens=90)


def test_a_source_becomes_its_target(pairs, tmp_path, monkeypatch):
    model = lk.models["transformer"](preset="tiny", encoder_depth=1, decoder_depth=1, **TINY)
    run = lk.fit(pairs, model, task="seq2seq", folder=tmp_path, epochs=10, vocabulary=300, **COMMON)
    assert falls(run) < 0.7
    scores = run.evaluate("test")
    assert 0 < scores["accuracy"] <= 1 and scores["loss"] == pytest.approx(np.log(scores["perplexity"]))
    lines = run.rows["test"]["text"][:3]
    told = run.translate(lines, max_new_tokens=7)
    assert told == [run.translate(line, max_new_tokens=7) for line in lines] == greedy(run, lines, 7)
    assert isinstance(run.translate("", beams=2), str) and run.translate([]) == []
    assert run.translate(lines[0], temperature=2.0, seed=1) != run.translate(
        lines[0], temperature=2.0, seed=2
    )
    report = run.translation_report()
    assert report.outputs == run.translate(run.rows["test"]["text"], max_new_tokens=31)
    assert (
        scores["chrf"] == report.score("chrf") and scores["memory_bleu_gain"] == report.gain(metric="bleu")[0]
    )
    looks = run.attention(lines[0], "DOG THE")
    assert looks.weights.shape[:2] == (1, 2) and looks.weights.shape[2:] == (
        len(looks.tokens),
        len(looks.source),
    )
    np.testing.assert_allclose(looks.weights, attended(run, lines[0], "DOG THE"), atol=1e-5)
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    call = [
        "translate",
        run.id,
        "--file",
        str(tmp_path / "lines.txt"),
        "--beams",
        "1",
        "--max-new-tokens",
        "7",
    ]
    made = CliRunner().invoke(app, [*call, "--folder", str(tmp_path)])
    assert made.exit_code == 0 and made.stdout.splitlines() == [" ".join(line.split()) for line in told]
    assert CliRunner().invoke(app, ["translate", run.id]).exit_code == 2
    monkeypatch.setattr(translation, "BATCH", 3)
    many = [*run.rows["test"]["text"][3:5], *lines]  # two batches, by length
    assert run.translate(many, max_new_tokens=7)[2:] == told
    with pytest.raises(ConfigError, match="max_new_tokens = 32 exceeds the 31 that this model can generate"):
        run.translate("the dog", max_new_tokens=32)
    with pytest.raises(DataError, match="source text 1 is 3, a int; a string is needed"):
        run.translate(["the dog", 3])
    with pytest.raises(
        WeightsError, match="of the task 'seq2seq'; TextGenerationPipeline opens models of the task 'lm'"
    ):
        run.generate("the dog")


def attended(run, line, target):
    """Cross-attention of the first layer, from its weights in NumPy."""
    module, _, inputs = load_model(run.experiment, run.info.folder / "model")
    model, layer = module.backbone, jax.tree.map(lambda leaf: leaf[0], nnx.state(module.backbone.decoder))
    source, whole = (jnp.asarray(inputs.tokenizer.encode([text]).ids[None]) for text in (line, target))
    ids = whole[:, :-1]  # what is read before each token that is predicted
    memory = np.asarray(model.encode(source, source >= 0))
    x = model.word(ids) * np.sqrt(32) + sinusoids(ids.shape[1], 32)[None]
    block = nnx.merge(nnx.graphdef(model.decoder), layer)
    bias = jnp.where(np.tri(ids.shape[1], dtype=bool), 0.0, -1e30)[None, None]
    y = np.asarray(block.attended(x, bias, None, None))[0]
    cross = layer["cross"]

    def dense(name, z):
        return (z @ np.asarray(cross[name]["kernel"]) + np.asarray(cross[name]["bias"])).reshape(-1, 2, 16)

    query, key = dense("query", y), dense("key", memory[0])
    scores = np.einsum("thk,shk->hts", query, key) / 4
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return (powers / powers.sum(-1, keepdims=True))[None]


def greedy(run, lines, count):
    """The likeliest next piece, again and again, by the model that reads whole targets."""
    module, _, inputs = load_model(run.experiment, run.info.folder / "model")
    tokenizer, told = inputs.tokenizer, []
    next_of = jax.jit(lambda *batch: module.backbone.logits(module.backbone(*batch).hidden).argmax(-1))
    for line in lines:
        source, target = tokenizer.encode([line]).ids[None], [tokenizer.cls_id]
        while len(target) <= count and target[-1] != tokenizer.sep_id:
            padded = np.zeros((1, count + 1), np.int32)
            padded[0, : len(target)] = target
            seen = np.arange(count + 1)[None] < len(target)
            target.append(int(next_of(source, source >= 0, padded, seen)[0, len(target) - 1]))
        told.append(tokenizer.decode(target[1:]))
    return told


def test_texts_that_belong_together_come_near_each_other(pairs, tmp_path):
    model = lk.models["bert"](preset="tiny", depth=1, pooling="mean", **TINY)
    run = lk.fit(pairs, model, task="embed", folder=tmp_path, epochs=4, vocabulary=100, **COMMON)
    scores = run.evaluate("test")
    assert scores["accuracy"] > 3 / 16 and -1 <= scores["cosine"] <= 1 and falls(run) < 0.8


def test_what_does_not_fit_together_is_said(text, pairs, tmp_path):
    with pytest.raises(ConfigError, match=r"mlp does not support 'pretrain'. Architectures that do: bert"):
        lk.fit(text, "mlp", task="pretrain", folder=tmp_path)
    with pytest.raises(ConfigError, match="unknown task 'pretrian'"):
        lk.fit(text, "bert", task="pretrian", folder=tmp_path)
    with pytest.raises(DataError, match="no labels"):
        lk.fit(pairs, "bert", folder=tmp_path)
    with pytest.raises(ConfigError, match="fit has no setting 'chosn'"):
        lk.fit(text, "bert", task="pretrain", chosn=0.1, folder=tmp_path)
