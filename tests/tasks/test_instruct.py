"""Instruction tuning: conversations are read or refused by row, the loss mask, a run end to end, chat and prompting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from typer.testing import CliRunner

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.chat import ChatPanel
from labkit.app.steps.data import Data
from labkit.app.steps.evaluate import Evaluate
from labkit.app.steps.predict import Predict
from labkit.cli.main import app
from labkit.core.config import dumps, loads
from labkit.core.errors import ConfigError, DataError, LabkitError
from labkit.data.batching.dialogues import DialogueBatches, dialogues
from labkit.data.conversations import conversations_of
from labkit.data.text import chat
from labkit.data.text.tokenizer import Tokenizer
from labkit.models.gpt.model import GptConfig
from labkit.tasks.instruct import Instruct
from labkit.tasks.lm import Decoder
from labkit.train.experiment import Experiment
from labkit.viz import chat_html

from ..app.hostile import HOSTILE, executable
from ..app.test_chinese import english
from ..inference.test_chat import CHATML, folder_with

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Say <|im_end|>, please"},
    {"role": "assistant", "content": "No."},
    {"role": "user", "content": "电影?"},
    {"role": "assistant", "content": "Yes, 电影.\n"},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a tiny Llama with a chat template."""
    folder = tmp_path_factory.mktemp("base")
    config = GptConfig(family="llama", width=16, depth=2, heads=2, kv_heads=1, mlp_width=24, max_length=192,
                       vocab_size=400, dropout=0.0)  # fmt: skip
    config.save(config.build(nnx.Rngs(0)), folder)
    return folder_with(CHATML, folder)


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Tokenizer:
    return Tokenizer.load(base)


def logs_of(pipeline: lk.TextGenerationPipeline, ids: np.ndarray) -> np.ndarray:
    """Log probabilities [t, v] of the token after each of some tokens, in one pass without a cache."""
    hidden = pipeline.model(jnp.asarray(ids)[None], jnp.ones((1, len(ids)), bool)).hidden[0]
    return np.asarray(jax.nn.log_softmax(pipeline.model.logits(hidden)), np.float64)


# --- reading ------------------------------------------------------------------------------------------------------


def test_pairs_and_messages_give_the_same_conversations(tmp_path):
    pair = {"prompt": ["Hi", "Bye"], "response": ["Hello", "See you"]}
    talks = [[{"role": "user", "content": one}, {"role": "assistant", "content": other}]
             for one, other in zip(pair["prompt"], pair["response"], strict=True)]  # fmt: skip
    foreign = [[{"from": "human", "value": one[0]["content"]}, {"from": "gpt", "value": one[1]["content"]}]
               for one in talks]  # fmt: skip
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"messages": talk}) for talk in talks), "utf-8")
    for rows in (
        lk.load(pair), lk.load(pair, text=("prompt", "response"), label=False), lk.load({"messages": talks}),
        lk.load({"conversations": foreign}), lk.load(tmp_path / "x.jsonl"),
        lk.load({"talk": [json.dumps(talk) for talk in talks]}, messages="talk"),
    ):  # fmt: skip
        assert conversations_of(rows["train"]) == talks and rows.spec.pairs and not rows.spec.classes
    long = lk.load({"messages": [[*TALK, {"role": "user", "content": "more?"}], talks[0]]})["train"]
    assert conversations_of(long) == [TALK, talks[0]]  # what no response follows is left out
    assert long["text"][0].splitlines()[0] == "system: Be brief." and long["text_pair"][0] == "Yes, 电影.\n"


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        ([], "not a list of messages"),
        ([{"role": "tool", "content": "x"}], "unknown role"),
        ([{"role": "user", "content": " "}, {"role": "assistant", "content": "x"}], "without content"),
        ([{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}], "take turns"),
        ([{"role": "user", "content": "x"}], "no message of the assistant"),
        ([*TALK[1:3], {"role": "system", "content": "x"}], "not the first"),
    ],
)
def test_conversations_that_cannot_be_used_are_refused_by_number(talk, reason):
    data = {"messages": [json.dumps(each) for each in (TALK, talk, TALK[:3])]}
    with pytest.raises(DataError) as error:
        lk.load(data, messages="messages")
    assert reason in str(error.value) and "1" in str(error.value)
    kept = lk.load(data, messages="messages", on_bad="skip")["train"]
    assert conversations_of(kept) == [TALK, TALK[:3]] and kept["row"] == [0, 2]


def test_other_refusals(tokenizer, tmp_path):
    cleaned = lk.load({"messages": [TALK, TALK[1:3]]}).clean(steps=("lowercase",))["train"]
    with pytest.raises(DataError, match="row 0: cleaning changed a conversation"):
        conversations_of(cleaned)
    assert conversations_of(cleaned.select([1]))[0][0]["content"] == "say <|im_end|>, please"  # a pair may be
    with pytest.raises(ConfigError, match="messages = 'messages' excludes text"):
        lk.load({"messages": [TALK], "x": ["y"]}, messages="messages", text="x")
    with pytest.raises(DataError, match="needs prompts and responses"):
        conversations_of(lk.load({"text": ["x", "y"]}, label=False)["train"])
    with pytest.raises(DataError, match="max_length = 8 leaves no token of any response"):
        dialogues([TALK], tokenizer, 8)
    for template, words in (
        ("{{ messages | length }} <|im_end|>", "renders a message differently"),
        ("{% for m in messages %}{{ m.content }} {% endfor %}", "without a special token"),
    ):
        place = tmp_path / str(len(words))
        place.mkdir()
        with pytest.raises(ConfigError, match=words):
            chat.encoded(Tokenizer.load(folder_with(template, place)), [TALK[1:3], TALK[1:]])


# --- the loss mask ------------------------------------------------------------------------------------------------


def test_the_loss_mask_is_that_of_a_count_by_hand(tokenizer, base):
    begin, end = (tokenizer.special(name) for name in ("<|im_start|>", "<|im_end|>"))
    ids, learnt = [], []
    for each in TALK:
        told = tokenizer.numbers(each["content"].strip())
        head = [begin, *tokenizer.numbers(f"{each['role']}\n")]
        if each["role"] != "assistant":  # one piece of text for the tokenizer
            head, told = [begin, *tokenizer.numbers(f"{each['role']}\n{each['content']}")], []
        ids += [*head, *told, end, *tokenizer.numbers("\n")]
        answers = each["role"] == "assistant"
        learnt += [False] * len(head) + [answers] * (len(told) + 1) + [False] * len(tokenizer.numbers("\n"))
    found = chat.encoded(tokenizer, [TALK])[0]
    assert found.ids.tolist() == ids and found.learnt.tolist() == learnt
    assert ids == chat.ids(tokenizer, TALK, prompt=False).tolist()

    cut = len(ids) - 4
    examples = dialogues([TALK, TALK[1:3], TALK[1:3]], tokenizer, cut)
    assert examples.truncated == 1 and examples.label.tolist() == [0, 0, 0]
    pipeline = lk.TextGenerationPipeline(base)
    head = Instruct().restore((), tokenizer)

    module = Decoder(pipeline.model)
    total = weight = expected = 0.0
    for batch in DialogueBatches(examples, 2, (64, 192), shuffle=False):
        loss, tokens, _sums = head.loss(module, jax.tree.map(jnp.asarray, batch), None)
        total, weight = total + float(loss), weight + float(tokens)
    parts = chat.encoded(tokenizer, [TALK, TALK[1:3], TALK[1:3]])
    for part in parts:
        row, mask = part.ids[:cut], part.learnt[:cut]
        logs = logs_of(pipeline, row)
        expected -= sum(logs[place - 1, row[place]] for place in np.flatnonzero(mask))
    assert weight == sum(part.learnt[:cut].sum() for part in parts)
    assert total == pytest.approx(expected, rel=1e-5)


# --- a run --------------------------------------------------------------------------------------------------------

SETTINGS = {"task": "instruct", "trainable": "lora", "epochs": 3, "batch_size": 8, "learning_rate": 3e-2}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    place = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    lines = [{"prompt": f"what is {n}?", "response": f"it is {n + 1}."} for n in range(60)]
    place.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return place


@pytest.fixture(scope="module")
def rows(file):
    return lk.load(file).split(validation=0.2, test=0.2)


@pytest.fixture(scope="module")
def run(rows, base, tmp_path_factory):
    return lk.fit(rows, GptConfig(weights=str(base)), background=False, name="tuned",
                  folder=tmp_path_factory.mktemp("lab"), **SETTINGS)  # fmt: skip


def test_a_run_lowers_the_loss_and_its_folder_answers_alike(run, rows, base, tmp_path):
    scores = run.evaluate("test")
    before = lk.ChatPipeline(base)
    examples = dialogues(conversations_of(rows["test"]), before.tokenizer, 128)
    sums, counts = before.response_losses(examples)
    assert scores["untuned_loss"] == pytest.approx(sums.sum() / counts.sum(), rel=1e-5)
    assert scores["loss_gain"] == pytest.approx(scores["untuned_loss"] - scores["loss"], rel=1e-4)
    low, high = scores.intervals["loss_gain"]
    assert 0 < low <= scores["loss_gain"] <= high
    said = run.chat("what is 3?", max_new_tokens=12)
    assert list(run.stream_chat("what is 3?", max_new_tokens=12))[-1] == said
    run.export(tmp_path / "model")
    again = lk.ChatPipeline(tmp_path / "model")
    assert again.chat("what is 3?", max_new_tokens=12) == said
    np.testing.assert_allclose(
        again.response_losses(examples)[0].sum() / counts.sum(), scores["loss"], rtol=1e-4
    )
    kept = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert kept["chat_template"] == CHATML
    assert {each.name for each in (run.info.folder / "model").glob("adapter/*")} >= {"adapter_config.json"}


def test_the_experiment_file_gives_the_same_run(run, file, tmp_path):
    assert loads(Experiment, dumps(run.experiment)) == run.experiment
    toml = tmp_path / "experiment.toml"
    toml.write_text(dumps(run.experiment.replace(name="again")), "utf-8")
    done = CliRunner().invoke(app, ["train", str(toml), "--folder", str(tmp_path / "lab")])
    assert done.exit_code == 0, done.output
    other = lk.open_run("again", tmp_path / "lab")
    ours, theirs = (
        {(r.step, r.split, r.name): r.value for r in one.store.records(one.id)
         if r.split in ("train", "validation")} for one in (run, other)
    )  # fmt: skip
    assert ours == theirs and len(ours) > 10


def test_what_cannot_be_tuned(rows, base, tmp_path):
    small = {"task": "instruct", "epochs": 1, "background": False, "folder": tmp_path}
    gpt = GptConfig(weights=str(base))
    for model, settings, given, words in (
        (gpt, {"packing": "always"}, rows, "packed"),
        (GptConfig(width=16, depth=1, heads=2), {}, rows, "no chat template"),
        (lk.models["textcnn"](preset="tiny"), {}, rows, "instruct"),
        (gpt, {}, lk.load({"text": [f"a {n}" for n in range(40)]}, label=False), "prompts and responses"),
    ):
        with pytest.raises(LabkitError, match=words):
            lk.fit(given, model, **small, **settings)


class Cut(lk.Callback):
    """Fails once, in the second half."""

    failed = False

    def on_step(self, progress, *more):
        if progress.step >= 9 and not Cut.failed:
            Cut.failed = True
            raise RuntimeError("the power was cut")


def test_training_resumes_bit_for_bit(run, rows, base, tmp_path):
    with pytest.raises(lk.LabkitError, match="the power was cut"):
        lk.fit(rows, GptConfig(weights=str(base)), background=False, name="cut", folder=tmp_path, callbacks=[Cut()],
               **SETTINGS)  # fmt: skip
    (cut,) = lk.runs(tmp_path)
    cut.resume().wait(120)
    ours, theirs = (
        {(r.step, r.split, r.name): r.value for r in one.store.records(one.id) if r.split == "validation"}
        for one in (run, cut)
    )
    assert ours == theirs and len(ours) > 6
    assert cut.chat("what is 3?", max_new_tokens=8) == run.chat("what is 3?", max_new_tokens=8)


# --- prompting ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reviews():
    texts = [f"{'good' if n % 2 else 'bad'} film number {n}" for n in range(60)]
    return lk.load({"text": texts, "label": ["pos" if n % 2 else "neg" for n in range(60)]}).split(test=0.3)


@pytest.mark.soak
def test_prompting_scores_the_tokens_of_each_answer(base, reviews):
    prompted = lk.PromptClassifier.of(
        reviews, 3, model=str(base), words={"pos": "very good"}, instruction="Good?"
    )
    assert [shot.label for shot in prompted.shots].count("neg") == 2 and prompted.words == (
        "neg",
        "very good",
    )
    tokenizer = prompted.pipeline.tokenizer
    texts = ["good film", "a bad one, 电影"]

    def by_hand(text):
        found = []
        for word in prompted.words:
            talk = [*prompted.messages(text), {"role": "assistant", "content": word}]
            whole = chat.ids(tokenizer, talk, prompt=False)[:-1]  # without the line break behind the end
            start = len(chat.ids(tokenizer, talk[:-1]))
            logs = logs_of(prompted.pipeline, whole)
            found.append(sum(logs[place - 1, whole[place]] for place in range(start, len(whole))))
        return found

    expected = np.array([by_hand(text) for text in texts], np.float64)
    np.testing.assert_allclose(prompted.log_likelihoods(texts), expected, atol=1e-3)
    free = np.array([by_hand(text) for text in ("N/A", "[MASK]", "")], np.float64)
    share = lambda logs: np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)  # noqa: E731
    weighted = share(expected) / share(free).mean(axis=0)
    weighted /= weighted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(prompted.predict_probabilities(texts), weighted, atol=1e-3)
    assert prompted.predict(texts[0]) == prompted.classes[int(weighted[0].argmax())]


@pytest.mark.soak
def test_prompting_in_the_comparison(base, reviews, tmp_path, monkeypatch):
    run = lk.fit(reviews, lk.models["textcnn"](preset="tiny"), epochs=2, background=False, name="cnn",
                 folder=tmp_path)  # fmt: skip
    table = lk.compare_prompting(run, (0, 2), str(base), limit=6, calibrations=("content-free",))
    assert list(table.index[:3]) == ["cnn", "0-shot, content-free", "2-shot, content-free"] and len(table) > 4
    assert table.loc["2-shot, content-free", "labels"] == 2 and table["f1"].between(0, 1).all()
    others = table.index != "cnn"
    assert np.allclose(table["gain"][others], table.loc["cnn", "f1"] - table["f1"][others], atol=1e-6)
    prompted = lk.PromptClassifier.of(reviews, model=str(base))
    report = lk.prompt_report(prompted, reviews, baselines=False)
    compared = run.compare(prompted)
    assert compared.names[1].endswith("0-shot") and compared.rows == len(reviews["test"])
    assert compared.second.scores["f1"] == report.scores["f1"]
    command = ["prompt", "cnn", "--model", str(base), "--shots", "0", "--limit", "6", "--word", "pos=good",
               "--folder", str(tmp_path), "--json"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "0-shot" in json.loads(done.output)


def test_what_cannot_be_prompted(base, reviews, rows):
    pipeline = lk.TextGenerationPipeline(base)
    for asked, kind, words in (
        (lambda: lk.PromptClassifier(["a"], pipeline), ConfigError, "two different classes"),
        (
            lambda: lk.PromptClassifier("ab", pipeline, calibration="x"),
            ConfigError,
            "unknown calibration 'x'",
        ),
        (lambda: lk.PromptClassifier("ab", pipeline, words={"c": "x"}), ConfigError, "'c' is not a class"),
        (
            lambda: lk.PromptClassifier("ab", pipeline, words={"a": "b"}),
            ConfigError,
            "words must be different",
        ),
        (lambda: lk.PromptClassifier("ab", pipeline, shots=[("x", "c")]), DataError, "class 'c'"),
        (lambda: lk.PromptClassifier("ab", pipeline, max_tokens=0), ConfigError, "max_tokens = 0"),
        (lambda: lk.PromptClassifier.of(rows, model=pipeline), DataError, "one class each"),
        (lambda: lk.PromptClassifier.of(reviews, 1000, model=pipeline), DataError, "shots = 1000"),
        (lambda: lk.PromptClassifier.of(reviews, 20, model=pipeline)("x"), ConfigError, "the prompt has"),
        (lambda: lk.PromptClassifier("ab", pipeline).predict_probabilities([3]), DataError, "text"),
        (lambda: lk.prompt_report(lk.PromptClassifier("ab", pipeline), reviews), DataError, "predicts a, b"),
    ):
        with pytest.raises(kind, match=words):
            asked()


# --- panels and commands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.soak), "zh"])
def test_the_panel_talks_turn_after_turn(base, language):
    panel = ChatPanel(str(base), language=language)
    panel.settle(120)
    assert panel.problem is None and not panel.go.disabled
    asking = panel.asking
    asking.length.value, asking.temperature.value = 6, 0.0
    sent = ["Hi <img src=x onerror=alert(1)>", "and now?"]
    for number, message in enumerate(sent, start=1):
        asking.text.value = message
        panel.go.click()
        panel.settle(120)
        assert panel.problem is None and len(asking.messages) == 2 * number and asking.text.value == ""
    assert panel.answer.value.count("lk-turn lk-from-user") == 2 and executable(panel.answer.value) == []
    hostile = [
        {"role": role, "content": text} for role in ("system", "user", "assistant") for text in HOSTILE
    ]
    assert executable(chat_html.conversation(hostile, language, writing=True)) == []
    scope: dict[str, Any] = {}
    *lines, last = panel.code().strip().splitlines()
    exec("\n".join(lines), scope)
    assert eval(last, scope) == asking.messages[-1]["content"]
    if language == "zh":
        assert [line for _, line in english(panel.root) if line not in sent] == []
    asking.anew.click()
    assert asking.messages == [] and panel.answer.value == ""
    panel.go.click()
    panel.settle()
    assert panel.problem is not None  # an empty message
    panel.close()


def test_an_answer_can_be_stopped(base):
    panel = ChatPanel(lk.TextGenerationPipeline(base), language="en")
    asking = panel.asking
    told = []

    def stream(messages, **settings):
        for number in range(1000):
            told.append(number)
            if number == 3:
                panel.stop.click()
            yield f"word {number}"

    asking.tool.stream_chat = stream
    asking.text.value = "go"
    panel.go.click()
    panel.settle(60)
    assert len(told) < 10 and asking.messages[-1] == {"role": "assistant", "content": f"word {told[-1]}"}
    panel.close()


@pytest.mark.parametrize(
    ("language", "words"), [pytest.param("en", "Loss reduction", marks=pytest.mark.soak), ("zh", "微调")]
)
def test_the_lab_shows_scores_and_chats(run, rows, language, words):
    evaluate = Evaluate(state=State(run=run, language=language))
    evaluate.settle(120)
    assert evaluate.problem is None and words in evaluate.scores.value
    evaluate.close()
    predict = Predict(state=State(run=run, language=language))
    predict.settle(60)
    predict.asking.take(rows["test"], 0)
    assert predict.asking.text.value == rows["test"]["text"][0]
    predict.go.click()
    predict.settle(60)
    assert predict.problem is None and rows["test"]["text_pair"][0] in predict.answer.value
    assert "run.chat(" in predict.code()
    predict.close()


def test_the_data_step_offers_prompts_and_messages(file, tmp_path):
    state = State(language="en")
    data = Data(state=state)
    (tmp_path / "talks.jsonl").write_text(
        "\n".join(json.dumps({"messages": TALK[:n]}) for n in (3, 5)), "utf-8"
    )
    for path, columns in (
        (file, ("prompt", "response", "")),
        (tmp_path / "talks.jsonl", ("", "", "messages")),
    ):
        data.way.value, data.path.value = "path", str(path)
        data.load.click()
        data.settle(60)
        assert data.problem is None, data.problem
        assert (data.goal.value, data.text.value, data.pair.value, data.messages.value) == (
            "instruct",
            *columns,
        )
        assert isinstance(state.task, Instruct)
    assert "messages='messages'" in data.code().replace('"', "'")
    data.close()


def test_the_command_chat(base, run):
    told = CliRunner().invoke(app, ["chat", str(base), "-m", "Hi", "-m", "More", "--max-new-tokens", "4"])
    assert told.exit_code == 0, told.output
    tool = lk.TextGenerationPipeline(base)
    first = tool.chat("Hi", max_new_tokens=4)
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "More"},
    ]
    assert told.output == f"{first}\n{tool.chat(talk, max_new_tokens=4)}\n"
    lines = CliRunner().invoke(app, ["chat", "tuned", "--folder", str(run.store.folder), "--max-new-tokens", "4"],
                               input="Hi\n/new\nHi\n/exit\nHi\n")  # fmt: skip
    assert lines.exit_code == 0 and lines.output == f"{run.chat('Hi', max_new_tokens=4)}\n" * 2
