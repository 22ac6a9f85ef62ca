"""Speech recognition: the loss by enumeration of alignments, edit distances by jiwer, the model by parts, beam search
by brute force, and one short run that many tests read."""

from __future__ import annotations

import csv
import itertools

import jax
import jax.numpy as jnp
import jiwer
import numpy as np
import pandas as pd
import pytest
from flax import nnx
from typer.testing import CliRunner

import labkit as lk
from labkit.api import train
from labkit.cli.main import app
from labkit.core.errors import ConfigError, DataError
from labkit.data.text.character_ngram import END, CharacterNgram
from labkit.inference.ctc_search import prefix_beam_search
from labkit.models.conformer import ConformerConfig
from labkit.tasks.asr import SpeechRecognition
from labkit.tasks.ctc import ctc_loss, emitted, greedy_edits, spectral_augment
from tests.spoken import RATE, folder_of_tones, sound, write

MODEL = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 16, "kernel": 5, "dropout": 0.0}
SETTINGS = {"epochs": 3, "batch_size": 8, "bands": 16, "buckets": 1, "masks": 1, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of_tones(tmp_path_factory.mktemp("speech") / "tones")


@pytest.fixture(scope="module")
def rows(folder):
    return lk.load(str(folder), transcript="said", rate=RATE).split(validation=0.2, test=0.2)


@pytest.fixture(scope="module")
def run(rows, tmp_path_factory):
    model, place = ConformerConfig(**MODEL), tmp_path_factory.mktemp("lab")
    made = lk.fit(rows, model, folder=place, background=False, **SETTINGS)
    assert made.status == "finished"
    return made


def merged(path) -> tuple[int, ...]:
    """What an alignment reads: equal neighbours merged, blanks dropped."""
    return tuple(one for one, _same in itertools.groupby(path) if one != 0)


def test_the_loss_is_that_of_all_alignments_together():
    logits = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)
    length, characters, count = np.array([5, 3, 4]), np.array([[1, 1], [2, 0], [1, 2]]), np.array([2, 1, 2])
    found = np.asarray(ctc_loss(*map(jnp.asarray, (logits, length, characters, count))))
    chances = np.asarray(jax.nn.softmax(logits, axis=-1))
    for row in range(3):
        wanted = tuple(characters[row, : count[row]].tolist())
        total = sum(
            np.prod([chances[row, step, one] for step, one in enumerate(path)])
            for path in itertools.product(range(3), repeat=int(length[row]))
            if merged(path) == wanted
        )
        assert found[row] == pytest.approx(-np.log(total), rel=1e-4)


def test_edit_distances_on_the_device_are_those_of_jiwer():
    random = np.random.default_rng(1)
    best, length = random.integers(0, 4, (40, 12)), random.integers(1, 13, 40)
    characters, count = random.integers(1, 4, (40, 6)), random.integers(1, 7, 40)
    found = greedy_edits(*map(jnp.asarray, (best, length, characters, count)))
    emits = np.asarray(emitted(jnp.asarray(best), jnp.asarray(length)))
    for row in range(40):
        said = "".join(" abc"[one] for one in characters[row, : count[row]])
        read = "".join(" abc"[one] for one in merged(best[row, : length[row]].tolist()))
        assert emits[row].sum() == len(read)
        assert int(found[row]) == round(jiwer.cer(said, read) * len(said))


def test_padding_and_other_sounds_change_no_hidden_state():
    config = ConformerConfig(**{**MODEL, "input_shape": (4, 6)})
    model = config.build(nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(2, 22, 6)).astype(np.float32)
    call = nnx.jit(lambda model, x, length: model(x, length))
    both = call(model, jnp.asarray(x), jnp.array([22, 13]))
    assert both.hidden.shape == (2, 6, 16) and both.length.tolist() == [6, 4]
    alone = call(model, jnp.asarray(x[1:, :13]), jnp.array([13]))
    assert np.asarray(both.hidden)[1, :4] == pytest.approx(np.asarray(alone.hidden)[0], abs=1e-5)
    with pytest.raises(ConfigError, match="must be odd"):
        ConformerConfig(kernel=4)
    with pytest.raises(ConfigError, match="not a multiple of 2 x heads"):
        ConformerConfig(width=18, heads=4)


def test_augmentation_hides_and_stretches_and_is_nothing_when_off():
    frames = jnp.asarray(np.random.default_rng(0).normal(size=(4, 40, 20)).astype(np.float32))
    length, key = jnp.full(4, 40), jax.random.key(0)
    assert np.array_equal(spectral_augment(frames, length, key, 0.0, 0), frames)
    hidden = np.asarray(spectral_augment(frames, length, key, 0.0, 2)) == 0
    whole = hidden.all(1) | hidden.all(2).any(1)[:, None]
    assert 0 < hidden.mean() < 0.6 and whole.any()
    warped = np.asarray(spectral_augment(frames, length, key, 0.3, 0))
    assert warped.shape == frames.shape and not np.allclose(warped, frames)


def test_one_step_has_the_shapes_of_its_batch_and_a_finite_gradient():
    head = SpeechRecognition(bands=8).restore(("a", "b"))
    module = head.init(ConformerConfig(**{**MODEL, "input_shape": (4, 8)}), nnx.Rngs(0))
    batch = {
        "inputs": np.random.default_rng(0).normal(size=(3, 24, 8)).astype(np.float32),
        "length": np.array([24, 17, 1], np.int32), "characters": np.array([[1, 2], [2, 0], [0, 0]], np.int32),
        "count": np.array([2, 1, 0], np.int32), "weight": np.array([1, 1, 0], np.float32),
    }  # fmt: skip
    batch = {name: jnp.asarray(values) for name, values in batch.items()}
    logs, length, emits = nnx.jit(head.log_probabilities)(module, batch)
    assert logs.shape == (3, 6, 3) and emits.shape == (3, 6) and length.tolist() == [6, 5, 1]

    @nnx.jit
    def step(module):
        return nnx.grad(lambda module: head.loss(module, batch, jax.random.key(0))[0])(module)

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(step(module)))
    total, weight, sums = nnx.jit(lambda module: head.loss(module, batch, None))(module)
    assert float(weight) == 2 and np.isfinite(float(total))
    scores = sums.merge(head.empty()).compute()
    assert scores["loss"] == pytest.approx(float(total) / 2) and int(sums.characters) == 3


def test_beam_search_finds_the_likeliest_transcript_of_all_alignments():
    random, characters = np.random.default_rng(3), ("a", "b")
    language = CharacterNgram.fit(["ab", "aab", "b"], order=3)
    for _trial in range(5):
        logs = np.log(random.dirichlet(np.ones(3), size=5))
        texts: dict[str, float] = {}
        for path in itertools.product(range(3), repeat=5):
            text = "".join(characters[one - 1] for one in merged(path))
            texts[text] = texts.get(text, 0.0) + float(
                np.exp(sum(logs[t, one] for t, one in enumerate(path)))
            )
        found = prefix_beam_search(logs, characters, 64, least=-99)
        assert found[0].text == max(texts, key=texts.__getitem__)
        assert found[0].score == pytest.approx(np.log(texts[found[0].text]))
        weighed = {
            text: np.log(chance)
            + 0.7 * sum(language.log_probability(text[:at], one) for at, one in enumerate(text))
            + 0.7 * language.log_probability(text, END)
            for text, chance in texts.items()
        }
        found = prefix_beam_search(logs, characters, 64, language, alpha=0.7, least=-99)
        assert found[0].text == max(weighed, key=weighed.__getitem__)
        assert found[0].score == pytest.approx(max(weighed.values()))


def test_the_language_model_is_a_distribution_and_is_read_back(tmp_path):
    model = CharacterNgram.fit(["one", "on", "no"], order=3)
    for before in ("", "o", "on", "xyz"):
        total = sum(np.exp(model.log_probability(before, one)) for one in ("o", "n", "e", END, "?"))
        assert total == pytest.approx(1.0)
    # "n" after "o" at the begin; Witten-Bell by hand, from single characters up.
    one = (3 + 4 / 5) / (10 + 4)  # "n": 3 of 10 characters and ends of 4 kinds, below them 5 alike
    two = (2 + 2 * one) / (3 + 2)  # after "o": n, n, end; after the begin and "o": n, n
    assert np.exp(model.log_probability("o", "n")) == pytest.approx((2 + two) / (2 + 1))
    model.save(tmp_path / "language.json")
    again = CharacterNgram.load(tmp_path / "language.json")
    assert again.log_probability("o", "n") == model.log_probability("o", "n")
    (tmp_path / "language.json").write_text('{"order": 3, "counts": {"": {"a": 0}}}')
    with pytest.raises(lk.LabkitError, match="no language model of characters"):
        CharacterNgram.load(tmp_path / "language.json")


def test_a_run_learns_and_its_error_rate_is_live(run):
    history = run.history[run.history.split == "validation"]
    assert {"loss", "cer"} <= set(history.columns)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert run.info.summary["metric"] == "cer"
    assert (run.info.folder / "model/language.json").exists() or run.transcribe(np.zeros(800)) is not None


def test_an_exported_model_transcribes_files_and_arrays_alike(run, folder, tmp_path):
    place = run.export(tmp_path / "model")
    pipeline = lk.SpeechRecognitionPipeline(place)
    assert pipeline.characters == (" ", "a", "b", "c") and pipeline.rate == RATE
    path = folder / "3.wav"
    one = run.transcribe(str(path))
    assert pipeline(path) == one and str(one) == one.text
    random = np.random.default_rng(5)
    samples = [sound("ab", random), sound("c", random)]
    both, alone = pipeline.transcribe(samples), pipeline.transcribe(samples[1])
    assert both[1].text == alone.text and both[1].score == pytest.approx(alone.score, abs=1e-3)
    assert all(0 <= at <= one.seconds and 0 < chance <= 1 for _letter, at, chance in one.characters)
    beam = pipeline.transcribe(samples, beams=4, language=0.3)
    assert all(isinstance(each.text, str) for each in beam)
    assert "lk.SpeechRecognitionPipeline" in (place / "README.md").read_text()
    assert {"model.safetensors", "speech.toml", "language.json"} <= {each.name for each in place.iterdir()}
    with pytest.raises(lk.LabkitError, match=r"run\.transcribe\(sounds\)"):
        lk.Predictor(place)
    with pytest.raises(DataError, match=r"'metadata\.csv' cannot be read"):
        pipeline(folder / "metadata.csv")
    with pytest.raises(DataError, match="60 s at most"):
        pipeline(np.zeros(61 * RATE, np.float32))
    for wrong in ({"beams": 0}, {"language": -1.0}):
        with pytest.raises(ConfigError, match="must be"):
            pipeline.transcribe(samples, **wrong)


class Cut(lk.Callback):
    """Fails once, in the second epoch."""

    failed = False

    def on_step(self, progress, *more):
        if progress.step >= 4 and not Cut.failed:
            Cut.failed = True
            raise RuntimeError("the power was cut")


def test_training_resumes_bit_for_bit(run, rows, tmp_path):
    model = ConformerConfig(**MODEL)
    with pytest.raises(lk.LabkitError, match="the power was cut"):
        lk.fit(rows, model, folder=tmp_path, background=False, callbacks=[Cut()], **SETTINGS)
    (cut,) = lk.runs(tmp_path)
    assert cut.status == "failed" and 0 < cut.info.step < run.info.steps
    cut.resume().wait(120)
    assert cut.status == "finished"
    for name in ("loss", "cer"):
        assert cut.info.summary[f"validation_{name}"] == run.info.summary[f"validation_{name}"]


def test_copied_code_and_toml_give_the_same_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(run.code(), scope)
    scope["run"].wait(120)
    (tmp_path / "experiment.toml").write_text(run.toml())
    for other in (scope["run"], train(tmp_path / "experiment.toml", folder=tmp_path / "other")):
        assert other.info.summary["validation_loss"] == run.info.summary["validation_loss"]


def test_the_command_writes_what_the_run_transcribes(run, folder, tmp_path):
    cli, place, out = CliRunner(), run.export(tmp_path / "model"), tmp_path / "said.csv"
    files = [str(folder / f"{number}.wav") for number in range(3)]
    wanted = [each.text for each in run.transcribe(files)]
    done = cli.invoke(app, ["transcribe", str(place), *files])
    assert done.exit_code == 0 and done.output.splitlines() == wanted, done.output
    done = cli.invoke(app, ["transcribe", str(place), *files, "--out", str(out)])
    assert done.exit_code == 0, done.output
    with open(out, encoding="utf-8", newline="") as file:
        assert [line["transcript"] for line in csv.DictReader(file)] == wanted
    refused = cli.invoke(app, ["transcribe", str(place), *files, "--out", "a.pdf"])
    assert refused.exit_code == 2 and "written as .csv" in refused.output


def test_a_report_of_a_run_has_baselines_and_a_beam_search(run):
    report = run.speech_report(beams=4)
    assert list(report.systems) == ["", "beam search", "most frequent transcript", "nearest recording"]
    assert report.score("cer", "nearest recording") < report.score("cer", "most frequent transcript")
    scores = run.evaluate()
    assert scores["cer"] == pytest.approx(report.score("cer"))
    assert {"wer", "baseline_cer", "nearest_cer", "nearest_cer_gain"} <= set(scores)
    card = str(run.card())
    assert "automatic-speech-recognition" in card


def test_what_cannot_be_recognised_is_refused(rows, folder, tmp_path):
    with pytest.raises(ConfigError, match=r"cnn does not support 'asr'.*: conformer"):
        lk.fit(rows, "cnn", folder=tmp_path)
    labelled = folder_of_tones(tmp_path / "labelled", 12)
    frame = pd.read_csv(labelled / "metadata.csv")
    frame.drop(columns="said").assign(kind=["x", "y"] * 6).to_csv(labelled / "metadata.csv", index=False)
    untold = lk.load(str(labelled), label="kind", rate=RATE)
    with pytest.raises(lk.LabkitError, match="the sounds have no transcripts"):
        lk.fit(untold, "conformer", task="asr", folder=tmp_path, background=False, accept_leakage=True)
    with pytest.raises(DataError, match="is texts; "):
        lk.fit([{"text": "a b", "label": "x"}] * 9, "conformer", task="asr", folder=tmp_path)
    short = tmp_path / "short"
    folder_of_tones(short, 12)
    frame = pd.read_csv(short / "metadata.csv")
    frame["said"] = [f"{number} {'abc' * 30}" for number in range(12)]
    frame.to_csv(short / "metadata.csv", index=False)
    long = lk.load(str(short), transcript="said", rate=RATE)
    with pytest.raises(lk.LabkitError, match=r"row \d+: a sound of .* is too short for its transcript"):
        lk.fit(long, ConformerConfig(**MODEL), folder=tmp_path / "lab", background=False, bands=16)


def test_sounds_with_transcripts_are_never_cut(tmp_path):
    folder = folder_of_tones(tmp_path / "tones", 8)
    write(folder / "0.wav", np.full(2 * RATE, 100, np.int16))
    rows = lk.load(str(folder), transcript="said", rate=RATE)
    assert len(rows["train"][0]["sound"]) == 2 * RATE and rows.schema.transcript == "said"
    with pytest.raises(DataError, match="too long for its transcript"):
        lk.load(str(folder), transcript="said", rate=RATE, seconds=1.0)
    kept = lk.load(str(folder), transcript="said", rate=RATE, seconds=1.0, on_bad="skip")
    assert len(kept) == 7
    with pytest.raises(ConfigError, match="is of sounds"):
        lk.load([{"text": "a", "said": "b"}], transcript="said")
    with pytest.raises(DataError, match="has no column 'spoken'"):
        lk.load(str(folder), transcript="spoken", rate=RATE)
