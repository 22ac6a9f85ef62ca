"""`labkit cost`, `challenge`, `distill`, `quantize` and `prune`, and scenarios on the command line."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

import labkit as lk
from labkit.cli.main import app
from labkit.core.config import load_file
from labkit.train.experiment import Experiment


def call(*words):
    found = CliRunner().invoke(app, [*map(str, words)])
    return found.exit_code, found.output


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worth")
    for name, seed, shift in (("old.csv", 0, 0.0), ("new.csv", 1, 1.5)):
        random = np.random.default_rng(seed)
        income = random.normal(size=160)
        lines = [f"{a:.7f},{('no', 'yes')[int(a + shift + e > 0)]}"
                 for a, e in zip(income, random.normal(size=160), strict=True)]  # fmt: skip
        (folder / name).write_text("\n".join(["income,label", *lines]), encoding="utf-8")
    return folder


def test_a_scenario_goes_from_new_to_train_to_cost_and_challenge(lab):
    file, folder = lab / "x.toml", lab / "lab"
    given = ["--scenario", "positive=yes", "--scenario", "false_negative=5", "--scenario", "volume=100"]
    code, said = call("new", lab / "old.csv", "--features", "--label", "label", "--out", file, *given)
    assert code == 0, said
    wanted = lk.Scenario(positive="yes", false_negative=5.0, volume=100)
    assert load_file(Experiment, file).scenario == wanted
    code, said = call("train", file, "--name", "loans", "--set", "train.epochs=2", "--folder", folder,
                      "--set", "scenario.volume=200")  # fmt: skip
    assert code == 0, said
    code, said = call("cost", "loans", "--folder", folder)
    report = lk.open_run("loans", folder).evaluate()
    assert (
        code == 0 and f"Expected cost a day: {report.decision.cost:.4g}"[:24] in said and "never act" in said
    )
    code, said = call(
        "cost", "loans", "--scenario", "mistakes.yes.no=5", "--folder", folder, "--no-baselines"
    )
    assert code == 0 and "of 1,000 decisions" in said and "always" in said, said
    code, said = call(
        "challenge", "loans", lab / "new.csv", "--folder", folder, "--set", "train.epochs=3", "--warm-start"
    )
    assert (
        code == 0 and "champion" in said.splitlines()[-1 - len(lk.runs(folder))] + said and "Rule: " in said
    ), said
    assert lk.runs(folder)[0].name == "loans challenger"
    settings = lk.open_run("loans challenger", folder).experiment.train
    assert settings.warm_start.startswith(str(lk.open_run("loans", folder).info.folder / "model@"))
    code, said = call("cost", "loans", "--scenario", "positiv=yes", "--folder", folder)
    assert code == 2 and "Did you mean 'positive'" in said


def test_smaller_models_are_saved_and_used(finished, tmp_path):
    folder = finished.store.folder
    for words, name in ((("quantize",), "int8"), (("prune",), "pruned")):
        code, said = call(*words, finished.id, tmp_path / name, "--folder", folder)
        assert code == 0 and "gain_low" in said and name in said, said
        code, said = call("predict", tmp_path / name, "a fine film")
        assert code == 0 and any(each in said for each in finished.predictor.classes), said


def test_a_student_is_trained(finished, tmp_path):
    (tmp_path / "more.txt").write_text(
        "\n".join(f"a fine film number {n}" for n in range(20)), encoding="utf-8"
    )
    wanted = [
        "--set",
        "epochs=1",
        "--set",
        "max_length=16",
        "--set",
        "vocabulary=200",
        "--set",
        "batch_size=32",
    ]
    code, said = call("distill", finished.id, tmp_path / "more.txt", "--preset", "tiny", *wanted,
                      "--folder", finished.store.folder)  # fmt: skip
    assert code == 0 and "student" in said and "ms" in said, said
