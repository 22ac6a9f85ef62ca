"""Model cards: the hub's own reader parses them, their numbers are those of the report, and nothing breaks out."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import ModelCard as HubCard

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.evaluate.card import PIPELINES
from labkit.tasks import tasks


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    lines = [f"{n % 40 / 10},{('f', 'm')[n % 3 > 0]},{('bad', '<b>g|o`od')[n % 40 > 20]}" for n in range(300)]
    (folder / "secret").mkdir()
    (folder / "secret" / "x.csv").write_text("\n".join(["a,b,label", *lines]), encoding="utf-8")
    rows = lk.load(folder / "secret" / "x.csv", features=["a"], label="label", groups="b", missing="keep")
    rows = rows.correct_labels({0: "<b>g|o`od"}, confirmed=[3, 4])
    return lk.fit(rows, lk.models["mlp"](preset="linear"), epochs=4, learning_rate=0.1, folder=folder / "lab",
                  background=False, name="loans | 1", accept_leakage=True)  # fmt: skip


@pytest.fixture(scope="module")
def card(run):
    return run.card(
        intended_use="To test cards.", out_of_scope="loans", groups="b", positive="bad", licence="MIT"
    )


def test_the_hub_reads_metadata_and_scores(run, card, tmp_path):
    folder = run.export(tmp_path / "model", card)
    read = HubCard.load(folder / "README.md")
    report = run.evaluate()
    assert read.data.license == "mit" and read.data.library_name == "labkit"
    assert read.data.pipeline_tag == "tabular-classification" and read.data.model_name == "loans | 1"
    found = {each.metric_type: each.metric_value for each in read.data.eval_results}
    assert found == pytest.approx({name: report.scores[name] for name in ("f1", "accuracy")}, abs=1e-6)
    assert {each.dataset_name for each in read.data.eval_results} == {"x.csv"}
    assert lk.Predictor(folder).predict([[1.0]])[0].label in report.classes
    plain = HubCard.load(run.export(tmp_path / "plain") / "README.md")
    assert plain.data.library_name == "labkit" and "lk.Predictor" in plain.text


def test_the_card_says_what_the_run_knows(run, card):
    text, rows, report = card.text, run.rows, run.evaluate()
    assert rows.fingerprint in text and "To test cards." in text and "Not for: loans" in text
    assert "Labels checked by hand: 1 corrected, 2 confirmed." in text
    low, high = report.intervals["f1"]
    assert f"| f1 | {report.scores['f1']:.4f} | {low:.4f} to {high:.4f} |" in text
    assert f"| majority class | {report.baselines['majority class'].scores['f1']:.4f} |" in text
    odds = run.fairness("b", positive="bad").gaps["equalized_odds_difference"]
    assert "| equalized odds difference | {:.3f} ({:.3f} to {:.3f}) |".format(*odds) in text
    assert re.search(r"median [\d.]+ ms, 95th percentile [\d.]+ ms", text)
    assert re.search(r"Energy of training\*\*: [\d.e-]+ to [\d.e-]+ Wh", text)
    assert "without differential privacy" in text and "were initialised at random" in text
    leaked = next(part for part in lk.leakage(rows).splits if part.split == "test").leaked
    assert (f"{leaked:,} of" in text) == bool(leaked)


def test_texts_of_the_data_do_not_break_out_and_paths_stay_private(run, card):
    text = card.text
    assert "secret" not in text and str(run.store.folder) not in text
    assert "| &lt;b&gt;g/o'od |" in text and "`<b>g/o'od`" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert "<b>" not in re.sub(r"`[^`]*`", "", line)


def test_private_runs_state_epsilon(run):
    before = run.info.summary
    run.store.update(
        run.id, summary={"privacy": {"epsilon": 8.0, "spent": 7.9, "delta": 1e-5, "unit": "row"}}
    )
    try:
        text = run.card(measure=False).text
    finally:
        run.store.update(run.id, summary={"privacy": before.get("privacy")})
    assert "ε = 7.9, δ = 1e-05 for one training row" in text and "Time of one answer" not in text


def test_what_a_card_cannot_have_is_refused(run):
    with pytest.raises(
        ConfigError, match=r"licence = 'mitt' is not a licence of the hub. Did you mean 'mit'"
    ):
        run.card(licence="mitt", measure=False)
    with pytest.raises(DataError, match="no column 'bb'"):
        run.card(groups="bb", measure=False)


def test_every_task_has_a_task_of_the_hub():
    assert {task for task, _modality in PIPELINES} == set(tasks)


def test_weights_and_texts_are_described(finished):
    text = finished.card(measure=False).text
    assert "Personal data found" in text and "text-classification" in text
    assert HubCard(text).data.pipeline_tag == "text-classification"


def test_a_card_is_written_in_chinese(run, card):
    text = run.card(language="zh", groups="b", positive="bad", measure=False).text
    for words in (
        "## 预期用途",
        "## 数据",
        "## 训练",
        "## 评估",
        "## 分组",
        "## 隐私",
        "## 局限",
        "数据的 SHA-256",
        "训练能耗",
    ):
        assert words in text, words
    for line in card.text.splitlines():
        assert not line.startswith("## ") or line not in text, line
    assert HubCard(text).data.library_name == "labkit"
    energy = run.info.summary["energy"]
    assert 0 < energy["low"] < energy["high"] and energy["source"]
    assert f"{energy['low']:.4g}" in text and f"{energy['low']:.4g}" in card.text
    with pytest.raises(ConfigError, match="'fr' is not supported"):
        run.card(language="fr", measure=False)
