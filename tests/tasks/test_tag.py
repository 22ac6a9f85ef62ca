"""Token classification: files and refusals, words and tokens, entities by brute force, a run end to end."""

from __future__ import annotations

import itertools
import json
import os
import time

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.data import Data
from labkit.app.steps.evaluate import Evaluate
from labkit.app.steps.predict import Predict
from labkit.cli.main import app
from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, DataError, LabkitError, WeightsError
from labkit.data.batching.tagged import NONE, TaggedBatches, tagged
from labkit.data.tags import entities, has_tags, tags_of
from labkit.data.text.tokenizer import Tokenizer
from labkit.evaluate.tagging import FrequentTags, tag_scores
from labkit.inference.http import Refused
from labkit.inference.tagging import TokenClassificationPipeline
from labkit.models.bert.model import BertConfig
from labkit.tasks.tag import TokenClassification
from labkit.train.experiment import Experiment

WORDS = {
    "B-PER": ["Anna", "Bert", "Zoë"],
    "I-PER": ["Smith", "O'Neil"],
    "B-LOC": ["Rome", "Oslo", "Ångström-upon-Thames"],
    "O": ["lives", "in", "and", "sees", "."],
}


def corpus(count=80, seed=0):
    """Sentences of people and places with BIO tags; "Smith" alone is a place."""
    random = np.random.default_rng(seed)
    words, tags = [], []
    for _unused in range(count):
        pattern = [
            ["B-PER", "I-PER", "O", "O", "B-LOC", "O"], ["B-PER", "O", "B-PER", "O", "B-LOC"],
            ["B-LOC", "O", "B-PER", "I-PER"],
        ][random.integers(3)]  # fmt: skip
        words.append([str(random.choice(WORDS[tag])) for tag in pattern])
        tags.append(pattern)
    return words, tags


# --- reading ------------------------------------------------------------------------------------------------------


def test_a_conll_file_gives_the_rows_of_its_lists(tmp_path):
    words, tags = corpus(12)
    blocks = ["-DOCSTART- -X- O\n"]
    for sentence, given_ in zip(words, tags, strict=True):
        lines = [f"{word} NN {tag}" for word, tag in zip(sentence, given_, strict=True)]
        blocks.append("\n".join(["# a comment", *lines]) + "\n")
    (tmp_path / "x.conll").write_text("\n".join(blocks), encoding="utf-8")
    (tmp_path / "x.iob2").write_text("\n".join(blocks).replace(" NN ", "\tNN\t"), encoding="utf-8")
    (tmp_path / "x.jsonl").write_text(
        "\n".join(json.dumps({"tokens": one, "ner_tags": two}) for one, two in zip(words, tags, strict=True)),
        encoding="utf-8",
    )
    memory = lk.load({"tokens": words, "tags": tags})
    for name in ("x.conll", "x.iob2", "x.jsonl"):
        found = lk.load(tmp_path / name)
        assert tags_of(found["train"]) == (words, tags) == tags_of(memory["train"]), name
    assert has_tags(memory["train"]) and memory.spec.text == ("text",) and not memory.spec.classes


def test_texts_divided_by_spaces_and_numbered_tags():
    from datasets import ClassLabel, Dataset, Features, List, Value

    found = lk.load({"sentence": ["a b", "c"], "pos": ["X Y", "X"]}, text="sentence", tags="pos")["train"]
    assert tags_of(found) == ([["a", "b"], ["c"]], [["X", "Y"], ["X"]])
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-PER"]))})
    data = Dataset.from_dict({"tokens": [["Anna", "runs"]], "ner_tags": [[1, 0]]}, features=features)
    assert tags_of(lk.load(data)["train"]) == ([["Anna", "runs"]], [["B-PER", "O"]])


@pytest.mark.parametrize(
    ("words", "tags", "reason"),
    [
        (["a", "b"], ["X"], "not a tag for every word"),
        ([], [], "no words"),
        (["a b"], ["X"], "white space"),
        (["a", ""], ["X", "X"], "white space"),
        (["a"], ["X Y"], "tag"),
        (["a"], [None], "tag"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_by_number(words, tags, reason):
    data = {"tokens": [["x", "y"], words, ["z"]], "tags": [["X", "Y"], tags, ["X"]]}
    with pytest.raises(DataError) as error:
        lk.load(data, text="tokens", tags="tags")
    assert reason in str(error.value) and "1" in str(error.value)
    kept = lk.load(data, text="tokens", tags="tags", on_bad="skip")["train"]
    assert tags_of(kept) == ([["x", "y"], ["z"]], [["X", "Y"], ["X"]]) and kept["row"] == [0, 2]


def test_other_refusals(tmp_path):
    (tmp_path / "bad.conll").write_text("Anna B-PER\nRome\n", encoding="utf-8")
    (tmp_path / "empty.conll").write_text("\n\n", encoding="utf-8")
    text = {"text": ["a b", "c d"] * 5, "label": ["x", "y"] * 5}
    for asked, kind, words in (
        (lambda: lk.load(tmp_path / "bad.conll"), DataError, ["line 2", "'Rome'"]),
        (lambda: lk.load(tmp_path / "empty.conll"), DataError, ["empty"]),
        (lambda: lk.load(text, text="text", tags="tag"), DataError, ["'tag'", "text"]),
        (lambda: lk.load(text, text="text", tags="label", label="label"), ConfigError, ["tags = 'label'"]),
        (lambda: tags_of(lk.load(text)["train"]), DataError, ["no tags", 'tags="tags"']),
    ):
        with pytest.raises(kind) as error:
            asked()
        assert all(word in str(error.value) for word in words), error.value
    rows = lk.load({"text": ["a b", "c d"], "tags": ["X Y", "X Y"]}, text="text", tags="tags")
    joined = rows.with_splits(
        {"train": rows["train"].map(lambda row: {"text": row["text"].replace(" ", "")})}
    )
    with pytest.raises(DataError, match="row 0 has 1 words and 2 tags"):
        tags_of(joined["train"])


# --- words and tokens ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@pytest.mark.parametrize("longest", [512, 9])
def test_the_tag_of_a_word_is_at_its_first_token(kind, longest):
    words, tags = corpus(20)
    texts = [" ".join(each) for each in words]
    tokenizer = Tokenizer.train(texts, kind=kind, vocab_size=290)
    tokens = tokenizer.encode(texts, None, longest)
    numbers = {tag: number for number, tag in enumerate(WORDS)}
    made = tagged(tokens, words, tokenizer, tags, numbers)
    begin = len(tokenizer.single.special[0])
    for place, sentence in enumerate(words):
        # by hand: how many tokens the words before a word have, each tokenised alone behind a space
        expected, at = [], begin
        room = begin + int(tokens.lengths[place]) - tokenizer.single.size
        for number, word in enumerate(sentence):
            before = len(tokenizer.pieces(" ".join(sentence[:number]))) if number else 0
            at = begin + before
            expected.append(at if at < room else NONE)
            assert len(tokenizer.pieces(" ".join(sentence[: number + 1]))) > before, word
        assert made.first[place].tolist() == expected
        row = made.tag[tokens.offsets[place] : tokens.offsets[place + 1]]
        wanted = np.full(len(row), NONE)
        for column, tag in zip(expected, tags[place], strict=True):
            if column != NONE:
                wanted[column] = numbers[tag]
        assert row.tolist() == wanted.tolist()
    batch = TaggedBatches(made, 4, (16, 64), seed=1).at(0)
    assert batch["tag"].shape == batch["ids"].shape
    for row, index in enumerate(batch["index"]):
        a, b = tokens.offsets[index : index + 2]
        assert batch["tag"][row, : b - a].tolist() == made.tag[a:b].tolist()
        assert (batch["tag"][row, b - a :] == NONE).all()


def test_a_step_learns_from_tagged_words_alone():
    head = TokenClassification(max_length=16).restore(("A", "B", "C"))
    model = BertConfig(vocab_size=20, width=8, depth=1, heads=2, mlp_width=16, max_length=16, dropout=0.0)
    module = head.init(model, nnx.Rngs(0))
    random = np.random.default_rng(0)
    batch = {
        "ids": jnp.asarray(random.integers(0, 20, (2, 6)), jnp.int32), "types": jnp.zeros((2, 6), jnp.int32),
        "mask": jnp.asarray([[True] * 6, [True] * 4 + [False] * 2]), "weight": jnp.asarray([1.0, 2.0]),
        "tag": jnp.asarray([[-1, 0, 2, -1, 1, -1], [-1, 2, -1, -1, -1, -1]], jnp.int32),
    }  # fmt: skip
    logits = np.asarray(module(batch), np.float64)
    assert logits.shape == (2, 6, 3)
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    places = [(0, 1, 0, 1.0), (0, 2, 2, 1.0), (0, 4, 1, 1.0), (1, 1, 2, 2.0)]
    total, weight, sums = head.loss(module, batch, None)
    expected = sum(-w * np.log(chances[row, column, tag]) for row, column, tag, w in places)
    assert float(total) == pytest.approx(expected, rel=1e-5) and float(weight) == 5
    right = sum(logits[row, column].argmax() == tag for row, column, tag, _w in places)
    assert sums.compute() == pytest.approx({"loss": expected / 5, "accuracy": right / 4})


# --- scores -------------------------------------------------------------------------------------------------------


def by_definition(tags):
    """Every span of words that is an entity: it begins where conlleval begins one, all of it is of one type, and it
    cannot go on."""

    def part(tag):
        return ("O", "") if tag == "O" else (tag[0], tag[2:])

    def begins(place):
        (prefix, kind), (before, kind_before) = (
            part(tags[place]),
            part(tags[place - 1]) if place else ("O", ""),
        )
        return prefix != "O" and (prefix in "BS" or before in "OES" or kind != kind_before)

    found = []
    for start, end in itertools.combinations(range(len(tags) + 1), 2):
        inside = [part(tag) for tag in tags[start:end]]
        one = all(prefix != "O" and kind == inside[0][1] for prefix, kind in inside)
        whole = end == len(tags) or tags[end] == "O" or begins(end)
        if one and begins(start) and whole and not any(begins(place) for place in range(start + 1, end)):
            found.append((inside[0][1], start, end))
    return found


TAG = st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y"])


@given(st.lists(TAG, max_size=8))
@settings(max_examples=300, deadline=None)
def test_entities_are_those_of_the_definition(tags):
    assert [tuple(each) for each in entities(tags)] == by_definition(tags)


def test_entities_equal_those_of_seqeval():
    labelling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    random = np.random.default_rng(0)
    for _unused in range(300):
        tags = random.choice(["O", "B-X", "I-X", "B-Y", "I-Y"], random.integers(0, 9)).tolist()
        theirs = [(kind, start, end + 1) for kind, start, end in labelling.get_entities(tags)]
        assert [tuple(each) for each in entities(tags)] == theirs


def test_scores_and_paired_intervals_by_sentence():
    words, truth = corpus(30, 1)
    random = np.random.default_rng(2)
    predicted = [[tag if random.random() < 0.8 else "O" for tag in each] for each in truth]
    usual = FrequentTags(*corpus(40, 3))(words)
    values, intervals = tag_scores(truth, predicted, usual, seed=5)

    def scored(rows, given_):
        right = found = there = words_ = same = 0
        for row in rows:
            one, two = set(by_definition(truth[row])), set(by_definition(given_[row]))
            right, found, there = right + len(one & two), found + len(two), there + len(one)
            words_ += len(truth[row])
            same += sum(a == b for a, b in zip(truth[row], given_[row], strict=True))
        return same / words_, 2 * right / (found + there), right / found, right / there

    accuracy, f1, precision, recall = scored(range(30), predicted)
    assert values["accuracy"] == pytest.approx(accuracy) and values["entity_f1"] == pytest.approx(f1)
    assert (values["entity_precision"], values["entity_recall"]) == pytest.approx((precision, recall))
    gains = []
    for counts in np.random.default_rng(5).multinomial(30, np.full(30, 1 / 30), size=1000):
        rows = np.repeat(np.arange(30), counts)
        gains.append(scored(rows, predicted)[0] - scored(rows, usual)[0])
    assert intervals["accuracy_gain"] == pytest.approx(np.percentile(gains, [2.5, 97.5]))


def test_the_baseline_is_the_most_frequent_tag():
    known = FrequentTags([["a", "a", "b"], ["a", "b", "c"]], [["X", "Y", "Z"], ["Y", "X", "X"]])
    assert known([["a", "b", "c", "new"]]) == [
        ["Y", "X", "X", "X"]
    ]  # b: X and Z once each, the first by name


# --- a run --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows():
    words, tags = corpus(90)
    return lk.load({"tokens": words, "tags": tags}).split(validation=0.2, test=0.2, accept_leakage=True)


@pytest.fixture(scope="module")
def run(rows, tmp_path_factory):
    model = lk.models["bert"](width=32, depth=1, heads=2, mlp_width=32, dropout=0.0)
    return lk.fit(rows, model, task="tag", epochs=12, batch_size=16, learning_rate=1e-2, background=False,
                  accept_leakage=True, name="names", folder=tmp_path_factory.mktemp("lab"))  # fmt: skip


def test_a_run_finds_names_and_its_folder_answers_alike(run, rows, tmp_path):
    scores = run.evaluate("test")
    words, truth = tags_of(rows["test"])
    found = run.tag(words)
    predicted = [list(each.tags) for each in found]
    assert scores["accuracy"] == pytest.approx(np.mean(np.concatenate(predicted) == np.concatenate(truth)))
    assert scores["entity_f1"] > 0.9 and {"baseline_accuracy", "accuracy_gain"} <= set(scores)
    text = "Anna Smith lives in Rome."
    answer = run.tag(text)
    assert [text[start:end] for start, end in answer.spans] == ["Anna", "Smith", "lives", "in", "Rome", "."]
    assert [(each.type, each.text) for each in answer.entities] == [("PER", "Anna Smith"), ("LOC", "Rome")]
    run.export(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert set(config["label2id"]) == set(WORDS)
    for name in ("labkit.toml", "labkit.json", "labkit-manifest.json"):
        kept = TokenClassificationPipeline(tmp_path / "model").tag(words)
        assert [each.tags for each in kept] == [each.tags for each in found], name
        if (tmp_path / "model" / name).exists():
            os.remove(tmp_path / "model" / name)  # what is left is a folder of transformers
    assert TokenClassificationPipeline(tmp_path / "model").tag(text) == answer


def test_the_experiment_file_and_refusals(run, rows, tmp_path):
    assert loads(Experiment, dumps(run.experiment)) == run.experiment
    for asked, kind, words in (
        (lambda: run.tag([["a b"]]), DataError, ["white space"]),
        (lambda: run.tag([3]), DataError, ["int"]),
        (lambda: run.tag(""), DataError, ["no word"]),
        (lambda: run.predict("Anna"), LabkitError, ["run.tag"]),
        (lambda: lk.TokenClassificationPipeline("bert-tiny"), WeightsError, ["ForTokenClassification"]),
    ):
        with pytest.raises(kind) as error:
            asked()
        assert all(word in str(error.value) for word in words), error.value
    bert = lk.models["bert"](width=8, depth=1, heads=1, mlp_width=8)
    for settings_, rows_, words in (
        ({"model": bert, "packing": "always"}, rows, "packed"),
        ({"model": lk.models["textcnn"](preset="tiny")}, rows, "tag"),
        ({"model": bert}, lk.load({"text": [f"a b {n}" for n in range(40)]}, label=False), "no tags"),
    ):
        with pytest.raises(LabkitError, match=words):
            lk.fit(
                rows_,
                task="tag",
                epochs=1,
                background=False,
                folder=tmp_path,
                accept_leakage=True,
                **settings_,
            )


def test_tables_and_the_endpoint_get_tags(run, tmp_path):
    texts = ["Anna Smith lives in Rome .", "Oslo sees Bert"]
    found = run.tag(texts)
    file = tmp_path / "texts.csv"
    file.write_text("id,tokens\n" + "".join(f"{n},{text}\n" for n, text in enumerate(texts)), "utf-8")
    lab = ["--folder", str(run.store.folder)]
    told = CliRunner().invoke(app, ["predict", "names", *texts, *lab])
    assert told.exit_code == 0 and told.output.splitlines()[0].startswith(str(found[0]))
    out = tmp_path / "tags.jsonl"
    named = ["--file", str(file), "--column", "tokens", "--out", str(out)]
    written = CliRunner().invoke(app, ["predict", "names", *named, *lab])
    assert written.exit_code == 0, written.output
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line["tags"] for line in lines] == [list(each.tags) for each in found] and lines[1]["id"] == "1"
    assert lines[0]["entities"][0]["text"] == "Anna Smith"
    refused = CliRunner().invoke(app, ["predict", "names", texts[0], "--unsure-below", "0.5", *lab])
    assert refused.exit_code == 2 and "unsure_below" in refused.output
    with lk.serve(run) as served:
        answer = served.answer("/predict", {"texts": texts})["predictions"]
        with pytest.raises(Refused, match="no word"):
            served.answer("/predict", {"texts": [" "]})
        with pytest.raises(Refused, match="remove the second"):
            served.answer("/predict", {"texts": texts, "pairs": texts})
    assert [each["tags"] for each in answer] == [list(each.tags) for each in found]
    assert answer[0]["entities"][0]["type"] == "PER" and json.dumps(answer)


@pytest.mark.soak  # a process of its own; the same of a toy task is in tests/test_own.py
def test_a_stopped_run_goes_on_bit_for_bit(run, rows, tmp_path):
    settings_ = {"task": "tag", "epochs": 12, "batch_size": 16, "learning_rate": 1e-2, "accept_leakage": True}
    other = lk.fit(rows, run.experiment.model, folder=tmp_path, background=True, **settings_)
    while not other.store.records(other.id, split="validation"):
        time.sleep(0.01)
    other.stop()
    other.wait(60)
    other.resume().wait(120)
    ours, theirs = (
        {(r.step, r.split, r.name): r.value for r in one.store.records(one.id)} for one in (run, other)
    )
    measured = [key for key in ours if key[1] in ("train", "validation")]
    assert len(measured) > 40 and all(ours[key] == theirs[key] for key in measured)


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ("Entity F1", "Accuracy gain")), ("zh", ("实体 F1", "准确率增益"))],
)
def test_panels_show_scores_and_highlight_entities(run, rows, language, words):
    evaluate = Evaluate(state=State(run=run, language=language))
    evaluate.settle(120)
    assert evaluate.problem is None and all(word in evaluate.scores.value for word in words)
    evaluate.close()
    predict = Predict(state=State(run=run, language=language))
    predict.settle(60)
    predict.asking.text.value = "Anna Smith lives in <b>Rome"
    found = predict.asking.answer(predict.asking.asked())
    shown = predict.asking.shown(predict.asking.asked(), found)
    assert (
        "Anna Smith</mark>" in shown and "PER</sub>" in shown and "&lt;" in shown and "<b>Rome" not in shown
    )
    assert "run.tag" in "".join(predict.asking.code(predict.asking.asked()))
    predict.asking.take(rows["test"], 0)
    predict.close()


def test_the_data_step_offers_words_and_tags(tmp_path):
    words, tags = corpus(20)
    (tmp_path / "x.conll").write_text(
        "\n\n".join(
            "\n".join(map(" ".join, zip(*each, strict=True))) for each in zip(words, tags, strict=True)
        ),
        encoding="utf-8",
    )
    state = State(language="en")
    data = Data(state=state)
    data.way.value, data.path.value = "path", str(tmp_path / "x.conll")
    data.load.click()
    data.settle(60)
    assert data.problem is None, data.problem
    assert (data.goal.value, data.text.value, data.tags.value) == ("tag", "tokens", "tags")
    assert isinstance(state.task, TokenClassification)
    assert "tags='tags'" in data.code().replace('"', "'")
    data.close()


def test_a_run_states_how_many_tokens_were_truncated(tmp_path):
    words, tags = corpus(40)
    long = [each * (1 + 2 * (n % 2)) for n, each in enumerate(words)]
    given = lk.load({"tokens": long, "tags": [each * (1 + 2 * (n % 2)) for n, each in enumerate(tags)]})
    model = lk.models["bert"](width=16, depth=1, heads=2, mlp_width=16)
    run = lk.fit(given, model, task="tag", epochs=1, batch_size=16, max_length=10, background=False,
                 accept_leakage=True, folder=tmp_path)  # fmt: skip
    found = run.info.summary["truncation"]
    assert 0 < found["rows"] < found["of"] and 0 < found["lost"] < 1 and found["max_length"] == 10
