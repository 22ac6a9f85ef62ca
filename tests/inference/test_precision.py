"""A regression far from zero, from the table to the answer, at every door."""

from __future__ import annotations

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

import labkit as lk
from labkit.core.errors import DataError
from labkit.inference.predictor import Predictor
from labkit.inference.server import Endpoint

START, AIM = 1_700_000_000, 100_000_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rows = [{"t": START + i, "y": AIM + i, "z": -i / 4} for i in range(200)]
    return lk.fit(
        lk.load(rows, features=("t",), number=("y", "z")).split(seed=0, accept_leakage=True), "mlp", epochs=40,
        learning_rate=1e-2, background=False, folder=tmp_path_factory.mktemp("lab"), seed=0,
    )  # fmt: skip


def test_answers_keep_more_digits_than_float32(run):
    asked = np.arange(20, 180, 7)
    answers = run.predict([{"t": START + int(i)} for i in asked])
    found = np.array([answer.value["y"] for answer in answers]) - AIM
    assert np.abs(found - asked).mean() < 6 and len(set(found)) == len(asked)  # a step of float32 is 8 there
    assert np.abs(np.array([answer.value["z"] for answer in answers]) + asked / 4).mean() < 1.5
    assert float(answers[0].cells()["predicted y"]) == pytest.approx(answers[0].value["y"], abs=1e-3)
    assert str(answers[0]).startswith("y 1000000")


def test_the_report_is_of_the_unrounded_truth(run):
    report = run.evaluate()
    assert report.per_name.loc["y", "r2"] > 0.98
    assert np.all((report.truth[:, 0] - AIM) % 1 == 0) and len(set(report.truth[:, 0])) == len(report.truth)
    assert report.baselines["ridge regression"].per_name.loc["y", "mae"] < 0.1


def test_an_exported_folder_answers_alike_and_a_changed_head_is_believed(run, tmp_path):
    out = run.export(tmp_path / "out")
    asked = [{"t": START + 77}]
    np.testing.assert_array_equal(Predictor(out).probabilities(asked), run.predictor.probabilities(asked))
    (out / "labkit-manifest.json").unlink()
    facts = json.loads((out / "labkit.json").read_text())
    for told in ([0.0, 0.0], [1.0], "x", [float(AIM), None]):
        (out / "labkit.json").write_text(json.dumps({**facts, "offset": told}))
        np.testing.assert_allclose(
            Predictor(out).probabilities(asked), run.predictor.probabilities(asked), rtol=1e-6
        )


def test_the_readme_of_an_export_names_the_steps_of_float32(tmp_path):
    rows = [
        {"text": f"{'good' if i % 2 else 'bad'} film {i}", "far": AIM + i % 2, "near": i % 2}
        for i in range(40)
    ]
    run = lk.fit(
        lk.load(rows, text="text", number=("far", "near")),
        lk.models["bert"](preset="tiny", depth=1, width=16, heads=2),
        background=False, folder=tmp_path, epochs=1, max_length=16, vocabulary=100, accept_leakage=True,
    )  # fmt: skip
    readme = (run.export(tmp_path / "out") / "README.md").read_text()
    assert "`far`: float32 numbers near 1e+08 are 8 apart" in readme and "`near`: float32" not in readme


@pytest.mark.parametrize("value", [1e39, "-1e39", 10**39])
def test_a_new_number_beyond_float32_is_refused_at_every_door(run, value, tmp_path):
    with pytest.raises(DataError, match=r"column 't' contains .* in row 1, a number beyond ±3\.4e38"):
        run.predict(
            [{"t": START}, {"t": value}] if not isinstance(value, str) else [{"t": str(START)}, {"t": value}]
        )
    with pytest.raises(DataError, match=r"feature 't' is .* in row 0, a number beyond"):
        run.predict(np.array([[float(value)]]))
    (tmp_path / "new.csv").write_text(f"t\n{START}\n{value}\n")
    with pytest.raises(DataError, match="in row 1, a number beyond"):
        list(run.predictor.answered(tmp_path / "new.csv"))
    with Endpoint(run.predictor) as endpoint:
        for inputs in ([[float(value)]], [[int(float(value))]], [{"t": float(value)}]):
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {endpoint.token}"}
            body = json.dumps({"inputs": inputs}).encode()
            with pytest.raises(HTTPError) as caught:
                urlopen(Request(endpoint.url + "/predict", body, headers), timeout=20)
            with caught.value as refused:
                assert refused.code == 422
