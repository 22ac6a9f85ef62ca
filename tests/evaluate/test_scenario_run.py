"""A scenario from Python and TOML to the evaluation, the card and the code; and champion against challenger."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.align import aligned

SCENARIO = lk.Scenario(
    decision="Which loans need a second look?", positive="bad", false_positive=1, false_negative=8, unit="EUR",
    volume=500, latency=10_000, target=0.001, budget=3, must_not="Refuse a loan without a person.",
)  # fmt: skip


def table(seed: int, n: int = 240, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    a = random.normal(size=n).round(7)
    kind = np.where(random.random(n) < 0.5, "x", "y")
    bad = a + shift + 0.8 * (kind == "x") + 0.8 * random.normal(size=n) > 0.6
    return pd.DataFrame({"a": a, "kind": kind, "label": np.where(bad, "bad", "good")})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rows = lk.load(table(0), features=True, label="label")
    return lk.fit(rows, lk.models["mlp"](preset="linear"), epochs=6, learning_rate=0.1, scenario=SCENARIO,
                  folder=tmp_path_factory.mktemp("lab"), background=False, name="loans")  # fmt: skip


def test_evaluation_states_the_cost_a_day_against_every_alternative(run):
    report = run.evaluate()
    found = report.decision
    threshold, truth = found.rule.threshold, report.truth
    act = report.probability[:, report.classes.index("bad")] >= threshold
    bad = truth == report.classes.index("bad")
    cost = 500 * (1.0 * (act & ~bad) + 8.0 * (~act & bad)).mean()
    assert found.cost == pytest.approx(cost) and run.info.summary["test_cost"] == pytest.approx(cost)
    names = {"model", "never act", "always act", "majority class", "logistic regression", "gradient boosting"}
    assert set(found.table.index) == names and found.table.loc["always act", "cost"] == pytest.approx(
        500 * (~bad).mean()
    )
    said = str(report)
    for part in (
        "Which loans need a second look?",
        "Expected cost a day",
        "EUR",
        "The target of",
        "An answer takes",
    ):
        assert part in said, part
    assert run.experiment.train.metric == "loss"  # probabilities must be right, the threshold comes later
    other = run.evaluate(scenario=lk.Scenario(positive="good", false_positive=5), baselines=False).decision
    assert other.scenario.positive == "good" and "of 1,000 decisions" in str(other)


def test_copied_code_and_toml_have_the_scenario(run):
    assert "scenario=lk.Scenario(" in run.code()
    made: dict = {}
    text = (
        run.code().replace("lk.load(table,", "lk.load(given,").replace("lk.fit", "lk.planning_experiment_of")
    )
    assert "second look" in text and made == {}
    assert lk.open_run(run.id, run.store.folder).experiment.scenario == SCENARIO
    assert "[scenario]" in run.toml() and 'positive = "bad"' in run.toml()


def test_the_card_begins_with_the_scenario(run):
    text = run.card(measure=False).text
    assert text.index("second look") < text.index("## Model")
    assert "Refuse a loan without a person." in text and "Expected cost a day" in text


def test_a_scenario_of_other_classes_is_refused_before_training(tmp_path):
    rows = lk.load(table(0, 60), features=True, label="label")
    with pytest.raises(ConfigError, match="bad, good"):
        lk.fit(rows, "mlp", scenario=lk.Scenario(positive="spam"), folder=tmp_path, background=False)


def test_a_challenger_is_compared_on_new_rows_that_neither_has_seen(run, tmp_path):
    old, new = table(0), table(7, 200, shift=2.5)
    new.loc[0, "kind"] = "z"  # a category that the champion does not know
    rows = pd.concat([new, old[:10]], ignore_index=True)
    rows["kind"] = rows["kind"].astype(str)
    found = run.challenge(rows)
    assert found.leaked == 10 and any("category without training rows" in note for note in found.notes)
    assert found.metric == "cost" and found.verdict == "replace" and "Replace the champion" in repr(found)
    line = found.table.loc["new"]
    assert line["gain"] == pytest.approx(line["champion"] - line["challenger"]) and line["gain_low"] > 0
    untouched = set(found.reports["champion", "new"].rows)
    trained = {row for split in ("train", "validation") for row in found.challenger.rows[split]["row"]}
    assert len(untouched) == line["rows"] > 80 and not untouched & trained
    assert len(found.challenger.rows["train"]) > len(run.rows["train"]) + 60
    rules = {"champion": found.champion, "challenger": found.challenger}
    for who, each in rules.items():  # each with the threshold of its own validation rows
        threshold = each.evaluate("validation", baselines=False).decision.rule.threshold
        report = found.reports[who, "new"]
        act, bad = report.probability[:, 0] >= threshold, report.truth == report.classes.index("bad")
        assert line[who] == pytest.approx(500 * (1.0 * (act & ~bad) + 8.0 * (~act & bad)).mean())
    again = run.challenge(table(9, 150), challenger=found.challenger, scenario=lk.Scenario(positive="bad"))
    assert again.verdict in ("keep", "undecided") and len(again.table) == 2
    with pytest.raises(DataError, match="all 10 new rows are among the earlier rows"):
        run.challenge(old[:10])
    with pytest.raises(DataError, match="no column 'kind'"):
        run.challenge(new[["a", "label"]])


def test_chosen_rows_keep_their_texts_and_labels(reviews):
    """Rows that were selected or shuffled before are still those rows."""
    part = reviews["train"]
    chosen = part.select(list(reversed(range(0, len(part), 2))))
    new, _report = aligned(reviews.with_splits({"train": chosen}), reviews)
    assert new["text"] == chosen["text"] and new["label"] == chosen["label"] and new["row"] == chosen["row"]
    order = part.select(list(reversed(range(len(part)))))
    new, _report = aligned(reviews.with_splits({"train": order}), reviews)
    assert new["text"] == order["text"] and new["label"] == order["label"]


def test_text_rows_are_cleaned_and_aligned_too(finished, tmp_path):
    lines = [(f"quite another text number {n}, {word}", label)
             for n in range(30) for word, label in (("lovely", "positive"), ("awful", "negative"))]  # fmt: skip
    names = finished.rows.schema.classes
    label = {"positive": names[1], "negative": names[0]}
    column, target = finished.rows.schema.text[0], finished.rows.schema.label
    new = [{column: text, target: label[name]} for text, name in lines]
    known = [{column: finished.rows["test"]["text"][0].upper(), target: names[0]}]
    found = finished.challenge([*new, *known, {column: "a new class", target: "other"}], challenger=finished)
    assert found.leaked == 1 and found.metric == "f1" and found.table.loc["new", "rows"] == 60
    assert found.table.loc["new", "gain"] == 0 and found.verdict == "keep"
    assert any("class without training rows" in note for note in found.notes)
