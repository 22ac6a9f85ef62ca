"""Models exported to ONNX: the greatest difference, the score of the int8 file, sizes and milliseconds an example.

``python -m pytest -m soak tests/evidence/test_onnx.py -s`` prints a row of a table for each model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest

import labkit as lk
from labkit.inference.to_onnx.files import program_for
from labkit.runs.handle import model_of

#: Calls of one example whose median is printed.
CALLS = 30


class Case(NamedTuple):
    """A model: its rows, its architecture, and how it is trained."""

    rows: Callable[[], lk.Rows]
    model: str
    settings: dict[str, Any]
    training: dict[str, Any]


@cache
def reviews() -> lk.Rows:
    return (
        lk.load("movie-reviews", min_score=1.0).sample(3000, seed=0).split(test=0.2, validation=0.1, seed=0)
    )


@cache
def people() -> lk.Rows:
    return lk.load("adult").sample(4000, seed=0)


@cache
def clothes() -> lk.Rows:
    return lk.load("fashion-mnist").sample(4000, seed=0)


@cache
def words() -> lk.Rows:
    return lk.load("brown-tags").sample(800, seed=0)


@cache
def novel() -> lk.Rows:
    return lk.load("austen").sample(600, seed=0)


TEXTS = {"max_length": 64, "batch_size": 32}
CASES = {
    "BERT `minilm-l6`": Case(reviews, "bert", {"preset": "minilm-l6"}, {"epochs": 1, **TEXTS}),
    "ModernBERT `tiny`": Case(reviews, "modernbert", {"preset": "tiny"}, {"epochs": 2, **TEXTS}),
    "text CNN `tiny`": Case(reviews, "textcnn", {"preset": "tiny"}, {"epochs": 4, **TEXTS}),
    "BERT `bert-tiny`, tags": Case(
        words, "bert", {"preset": "bert-tiny"}, {"task": "tag", "epochs": 2, "max_length": 64}
    ),
    "GPT `nano`": Case(novel, "gpt", {"preset": "nano"}, {"task": "lm", "epochs": 1, "max_length": 64}),
    "MLP `small`": Case(people, "mlp", {"preset": "small"}, {"epochs": 5}),
    "FT-Transformer `small`": Case(people, "ft-transformer", {"preset": "small"}, {"epochs": 2}),
    "CNN `small`": Case(clothes, "cnn", {"preset": "small"}, {"epochs": 3}),
    "ResNet-20": Case(clothes, "cnn", {"preset": "resnet-20"}, {"epochs": 2}),
    "VGG, four layers": Case(
        clothes, "vgg", {"stages": (1, 1, 2), "base_width": 32, "head_width": 128}, {"epochs": 3}
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_exported_model_computes_what_labkit_computes(name: str, lab: Path, tmp_path: Path, tell) -> None:
    case = CASES[name]
    run = lk.fit(
        case.rows(), lk.models[case.model](**case.settings), folder=lab, background=False, accept_leakage=True,
        **case.training,
    )  # fmt: skip
    scored = run.experiment.task.problem_type is not None
    folder = run.export(tmp_path / "model", onnx=True, int8=scored)
    about = json.loads((folder / "onnx.json").read_text("utf-8"))
    files = ["model.onnx", *["model.int8.onnx"] * scored]
    program = program_for(run.experiment, model_of(run.info)[0], folder)
    feeds, _expected = next(program.cases(case.rows()["train"].select([0])))
    compiled = lambda: np.asarray(next(iter(jitted(program)(feeds).values())))  # noqa: E731
    times = [_median(compiled)]
    for file in files:
        session = onnxruntime.InferenceSession(folder / file)
        times.append(_median(lambda session=session: session.run(None, feeds)))
    sizes = ", ".join(f"{(folder / file).stat().st_size / 1e6:.2f}" for file in files)
    small = about["int8"]["line"] if scored else "–"
    tell(
        f"| {name} | {about['check']['difference']:.1e} | {small} | {sizes} | {', '.join(f'{t:.2f}' for t in times)} |"
    )
    assert about["check"]["rows"] == 100 and about["check"]["difference"] <= 1e-4


def jitted(program: Any) -> Callable[[dict[str, np.ndarray]], dict[str, Any]]:
    """The compiled function of a program, of the inputs of a file."""
    import jax

    compiled = jax.jit(program.function)
    return lambda feeds: compiled(program.state, program.as_read(feeds))


def _median(call: Callable[[], object]) -> float:
    call()
    found = []
    for _call in range(CALLS):
        begin = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - begin))
    return float(np.median(found))
