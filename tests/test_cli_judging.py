"""`labkit check-labels`, `labkit fairness` and `labkit card`."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner

import labkit as lk
from labkit.cli.main import app

RUN = CliRunner()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    random = np.random.default_rng(0)
    sex, income = random.choice(["f", "m"], 200), random.normal(size=200)
    lines = [f"{a:.3f},{b},{('no', 'yes')[int(a > 0)]}" for a, b in zip(income, sex, strict=True)]
    (folder / "t.csv").write_text("\n".join(["income,sex,label", *lines]), encoding="utf-8")
    rows = lk.load(folder / "t.csv", features=["income"], label="label", groups="sex")
    lk.fit(
        rows, lk.models["mlp"](preset="linear"), epochs=3, folder=folder / "lab", background=False, name="one"
    )
    return folder / "lab"


def test_groups_are_compared(lab):
    done = RUN.invoke(app, ["fairness", "one", "sex", "--json", "--folder", str(lab)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == lk.open_run("one", lab).fairness("sex").to_dict()
    text = RUN.invoke(app, ["fairness", "one", "sex", "--folder", str(lab)]).stdout
    assert "equalized_odds_difference" in text and "positive class yes" in text
    wrong = RUN.invoke(app, ["fairness", "one", "sexx", "--folder", str(lab)])
    assert wrong.exit_code == 2 and "Did you mean 'sex'" in wrong.output


def test_a_card_is_printed_or_exported(lab, tmp_path):
    given = [
        "card",
        "one",
        "--group",
        "sex",
        "--licence",
        "mit",
        "--intended-use",
        "A test.",
        "--folder",
        str(lab),
    ]
    done = RUN.invoke(app, given)
    assert done.exit_code == 0 and ModelCard(done.stdout).data.license == "mit" and "A test." in done.stdout
    RUN.invoke(app, [*given, "--export", str(tmp_path / "model")])
    assert "equalized odds" in ModelCard.load(tmp_path / "model" / "README.md").text


def test_doubtful_labels_are_listed_and_written(tmp_path):
    words = {"good": "great lovely fine", "bad": "awful poor dull"}
    lines = [f"{words[('good', 'bad')[n % 2]]} n{n},{('good', 'bad')[n % 2]}" for n in range(60)]
    lines[0] = f"{words['good']} n0,bad"
    lines += [f"{words['good']} new{n}," for n in range(3)]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    out = tmp_path / "out.csv"
    words = ["check-labels", str(tmp_path / "x.csv"), "--count", "3", "--out", str(out), "--encoder", "none"]
    done = RUN.invoke(app, words)
    assert done.exit_code == 0, done.output
    said = done.stdout.splitlines()
    assert said[0].startswith("1 of 60 labels are doubtful, by TF-IDF alone") and len(said) == 4
    assert said[1].startswith("0\tbad\tgood\t") and said[1].endswith("great lovely fine n0")
    assert pd.read_csv(out, encoding="utf-8-sig")["row"][0] == 0
    lost = RUN.invoke(app, [*words[:4], "--out", str(tmp_path / "none" / "out.csv"), "--encoder", "none"])
    assert lost.exit_code == 2 and "cannot write" in lost.output
    new = RUN.invoke(app, ["check-labels", str(tmp_path / "x.csv"), "--new"])
    assert new.exit_code == 0 and len(new.stdout.splitlines()) == 3 and "\tgood\t" in new.stdout
