"""ONNX files against JAX and labkit: single operations, whole models, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import lax
from typer.testing import CliRunner

import labkit as lk
from labkit.cli.main import app
from labkit.core.errors import ConfigError
from labkit.inference.to_onnx.convert import convert, traced
from labkit.inference.to_onnx.graph import Graph, Tensor

from .exports.cases import Case
from .exports.cases import export as untrained

DOCS = Path(lk.__file__).parent / "docs" / "how-to" / "export-to-onnx.md"
RANDOM = np.random.default_rng(0)
TABLE = RANDOM.standard_normal((7, 4)).astype(np.float32)
KERNEL = RANDOM.standard_normal((3, 2, 3, 5)).astype(np.float32)
WEIGHTS = RANDOM.standard_normal((3, 4, 4)).astype(np.float32)


def in_onnx(function: Any, *arrays: np.ndarray, symbolic: str = "b, t") -> list[np.ndarray]:
    """What ONNX Runtime computes of a function that was converted with the first two axes of a variable size."""
    sizes = jax.export.symbolic_shape(symbolic, constraints=["b >= 1", "t >= 2"])
    shapes = [jax.ShapeDtypeStruct((*sizes[: min(2, a.ndim)], *a.shape[2:]), a.dtype) for a in arrays]
    graph = Graph()
    closed, _shapes = traced(function, shapes)
    inputs = [graph.input(f"x{i}", each.dtype, each.shape) for i, each in enumerate(shapes)]
    for number, found in enumerate(convert(graph, closed, inputs)):
        graph.output(f"y{number}", found)
    session = onnxruntime.InferenceSession(graph.model({}).SerializeToString())
    return session.run(None, {f"x{i}": array for i, array in enumerate(arrays)})


X = RANDOM.standard_normal((2, 6, 4)).astype(np.float32)
IDS = RANDOM.integers(0, 7, (2, 6)).astype(np.int32)
PICTURES = RANDOM.standard_normal((2, 9, 8, 3)).astype(np.float32)


def looped(x: jax.Array) -> Any:
    return lax.scan(lambda carry, w: (jnp.tanh(carry @ w), carry.sum((1, 2))), x, WEIGHTS, reverse=True)


OPERATIONS: dict[str, tuple[Any, tuple[np.ndarray, ...]]] = {
    "pointwise": (lambda x: jnp.where(x > 0, jnp.exp(-x), x**3) + lax.rsqrt(1 + x * x) + lax.erf(x), (X,)),
    "rounding": (lambda x: jnp.round(3 * x) + jnp.floor(x) + jnp.sign(x) + jnp.clip(x, -1, 0.5), (X,)),
    "look-up": (lambda ids: jnp.asarray(TABLE)[ids], (IDS,)),
    "places": (lambda x, ids: jnp.take_along_axis(x, ids[:, :3, None] % 4, axis=1), (X, IDS)),
    "last": (lambda x: x[:, -1] + x[:, 0] + x[:, 1:].sum(1) + x[:, ::2].max(1), (X,)),
    "heads": (lambda x: jnp.einsum("bqhk,bthk->bhqt", *[x.reshape(*x.shape[:2], 2, 2)] * 2), (X,)),
    "softmax": (lambda x: jax.nn.softmax(x, axis=1), (X,)),
    "causal": (lambda x: jnp.where(jnp.tri(4, dtype=bool), x[:, :1], 0) + jnp.arange(x.shape[1])[None, :1, None], (X,)),
    "counts": (lambda x: x.mean((1, 2)) * x.shape[1] + jnp.argmax(x[:, :, 0], 1), (X,)),
    "sums": (lambda x: jnp.cumsum(x, 1) + jnp.cumsum(x[:, :, ::-1], 2, dtype=jnp.float32), (X,)),
    "loop": (looped, (X,)),
    "padding": (lambda x: jnp.pad(x, ((0, 0), (2, 1), (1, 0)), constant_values=3.0), (X,)),
    "split": (lambda x: jnp.concatenate(jnp.split(x, 2, axis=2)[::-1], axis=2), (X,)),
    "logic": (lambda ids: (ids > 2) & ~(ids == 4) | (ids % 3 == 0), (IDS,)),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_computes_what_jax_computes(name: str) -> None:
    function, arrays = OPERATIONS[name]
    for cut in (slice(None), slice(0, 1)):  # another batch
        given = [array[cut] for array in arrays]
        wanted = jax.tree.leaves(function(*map(jnp.asarray, given)))
        found = in_onnx(function, *given)
        assert len(found) == len(wanted)
        for mine, theirs in zip(found, wanted, strict=True):
            assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine, theirs, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_convolution_and_pooling_of_pictures(padding: str) -> None:
    def function(x: jax.Array) -> jax.Array:
        axes = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(x, jnp.asarray(KERNEL), (2, 1), padding, dimension_numbers=axes)
        return lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    graph, batch = Graph(), jax.export.symbolic_shape("b")
    closed, _shapes = traced(function, [jax.ShapeDtypeStruct((*batch, *PICTURES.shape[1:]), jnp.float32)])
    (found,) = convert(graph, closed, [graph.input("x", np.float32, (*batch, *PICTURES.shape[1:]))])
    graph.output("y", found)
    session = onnxruntime.InferenceSession(graph.model({}).SerializeToString())
    for pictures in (PICTURES, PICTURES[:1]):
        (mine,) = session.run(None, {"x": pictures})
        np.testing.assert_allclose(mine, function(jnp.asarray(pictures)), atol=1e-5)


def test_what_has_no_counterpart_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="operation 'sort' of JAX"):
        in_onnx(lambda x: jnp.sort(x, axis=1), X)
    with pytest.raises(ConfigError, match="data type float16"):
        graph = Graph()
        graph.input("x", np.float16, (1,))


def test_a_constant_without_axes_keeps_its_shape() -> None:
    graph = Graph()
    graph.output("y", Tensor.constant(np.float32(3)))
    assert onnxruntime.InferenceSession(graph.model({}).SerializeToString()).run(None, {})[0].shape == ()


# --- models -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


def fitted(lab: Path, rows: Any, model: Any, **settings: Any) -> Any:
    settings = {"epochs": 1, "batch_size": 16, "accept_leakage": True, "background": False, **settings}
    return lk.fit(rows, model, folder=lab, **settings)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    case = Case("bert", "classify", "wordpiece", "mean")
    return untrained(case, tmp_path_factory.mktemp("texts"))[0]


@pytest.fixture(scope="module")
def table(lab):
    rows = [
        {"age": None if i % 11 == 0 else 20.0 + i % 50, "city": "xyz"[i % 3], "price": 1e5 + 10 * (i % 7)}
        for i in range(120)
    ]
    return fitted(lab, lk.load(rows, features=("age", "city"), number="price"), lk.models["mlp"](widths=(8,)))


def test_a_text_model_answers_without_labkit(texts, tmp_path: Path) -> None:
    out = texts.export(tmp_path / "my-model", int8=True)
    about = json.loads((out / "onnx.json").read_text())
    assert about["check"]["rows"] == 60 and about["check"]["difference"] <= 1e-4
    score = about["int8"]["score"]
    assert score["metric"] == "f1" and score["low"] <= score["value"] <= score["high"]
    assert about["int8"]["line"] in (out / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    code = next(each for each in examples if "InferenceSession" in each and "tokenizers" in each)
    asked = ["a good film", "dull", "a [SEP] b [MASK]", " ".join(["the long plot"] * 12)]
    code = code.replace('["a good film", "dull"]', repr(asked), 1)
    code += "\nimport sys\nassert 'labkit' not in sys.modules and 'jax' not in sys.modules\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": ""}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.strip().splitlines()]
    for (label, chance), answer in zip(found, texts.predict(asked), strict=True):
        assert label == answer.label and float(chance) == pytest.approx(answer.confidence, abs=1e-4)


def test_a_table_is_standardised_in_the_graph_and_its_bias_added_in_float64(
    table, lab, tmp_path: Path
) -> None:
    result = CliRunner().invoke(
        app, ["export", table.id, str(tmp_path / "out"), "--onnx", "--stablehlo", "--folder", str(lab)]
    )
    assert result.exit_code == 0, result.output
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    about = json.loads((tmp_path / "out" / "onnx.json").read_text())
    assert about["table"]["features"] == list(table.predictor.processor.standard.names)
    rows = [{"age": 30.0, "city": "y"}, {"age": None, "city": "z"}]
    features = np.asarray(table.predictor.processor.examples(rows), np.float64)
    (mine,) = session.run(None, {"features": features})
    np.testing.assert_allclose(mine, table.predictor.probabilities(rows), atol=1e-4)
    # StableHLO is loaded by JAX alone, and gives the same
    about = json.loads((tmp_path / "out" / "stablehlo.json").read_text())
    assert (
        about["readable_until"] > about["made_with"]["date"] and about["made_with"]["jax"] == jax.__version__
    )
    loaded = jax.export.deserialize(bytearray((tmp_path / "out" / "model.stablehlo").read_bytes()))
    standard = (features - about["mean"]) / about["scale"]
    given = {"features": np.nan_to_num(standard).astype(np.float32)}
    theirs = np.asarray(loaded.call(given)["numbers"], np.float64) + np.asarray(about.get("offset", 0.0))
    np.testing.assert_allclose(theirs, mine, atol=1e-3)


def test_a_file_that_differs_is_not_written(table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labkit.inference.to_onnx import operations

    monkeypatch.setitem(operations.SAME, "max", "Min")  # a wrong table
    with pytest.raises(ConfigError, match=r"differs from labkit by .* it is not written"):
        table.export(tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()
