"""Files of ONNX and StableHLO in an exported folder: written where they agree with labkit."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from datasets import Dataset, concatenate_datasets

from labkit.core import extras
from labkit.core.cache import write_atomic
from labkit.core.errors import ConfigError, DataError
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline
from labkit.inference.predictor import Predictor
from labkit.inference.registry import PIPELINES
from labkit.inference.to_onnx.convert import convert, traced
from labkit.inference.to_onnx.graph import OPSET, Graph, Tensor
from labkit.inference.to_onnx.programs import Program, program_of
from labkit.models.conv import plain_convolutions
from labkit.train.experiment import Experiment

#: Rows that a file is checked with, and the greatest difference from labkit, relative to numbers above 1.
ROWS, TOLERANCE = 100, 1e-4
#: Files in the exported folder.
MODEL, INT8, ABOUT = "model.onnx", "model.int8.onnx", "onnx.json"
STABLEHLO, ABOUT_STABLEHLO = "model.stablehlo", "stablehlo.json"
#: For how long JAX promises to read a StableHLO file (its "compatibility guarantees").
READABLE = timedelta(days=180)
#: Platforms that a StableHLO file runs on.
PLATFORMS = ("cpu", "cuda", "tpu")

Answer = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


def opened(experiment: Experiment, model: Path) -> Pipeline:
    """The model of a run as a pipeline that computes in float32."""
    kind = PIPELINES.get(type(experiment.task)) or Predictor
    return kind(model, dtype="float32" if "dtype" in experiment.model.values() else "auto")


def rows_to_check(rows: Rows) -> Dataset:
    """The first :data:`ROWS` rows: those of the test split, then of the other splits."""
    found, left = [], ROWS
    for split in ("test", "validation", "train"):
        part = rows.splits.get(split)
        if part is not None and left and len(part):
            kept = part.select(range(min(left, len(part))))
            found.append(kept)
            left -= len(kept)
    if not found:
        raise DataError(_("an export to ONNX is checked with rows of the run, and it has none."))
    return concatenate_datasets(found)


def session_of(content: bytes | str) -> Any:
    """A model in ONNX Runtime, on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])


def answers_of(session: Any) -> Answer:
    """What a session answers, by the names of its outputs."""
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def model_of(program: Program, facts: Mapping[str, str], share: bool = True) -> Any:
    """A program as an ``onnx.ModelProto``.

    Raises:
        ConfigError: it computes what ONNX has no operator for; the message names it.
    """
    graph, arrays = Graph(share), program.traced
    with plain_convolutions():
        closed, shapes = traced(program.function, (program.state, arrays))
    arguments = [Tensor.constant(np.asarray(jax.device_get(leaf))) for leaf in jax.tree.leaves(program.state)]
    given = {
        each.name: program.prepare(graph, each.name, graph.input(each.name, each.dtype, arrays[each.name].shape))
        for each in program.inputs
    }  # fmt: skip
    arguments += [given[name] for name in sorted(given)]  # the order of JAX
    found = convert(graph, closed, arguments)
    for name, tensor in zip(sorted(shapes), found, strict=True):
        graph.output(name, program.finish(graph, name, tensor))
    return graph.model(facts)


def difference(program: Program, answer: Answer, rows: Dataset) -> float:
    """The greatest difference from labkit over rows: absolute up to 1, relative above; of the numbers of a regression
    without the bias that is added last."""
    offset = 0 if program.offset is None else program.offset
    worst = 0.0
    for feeds, expected in program.cases(rows):
        found = answer(feeds)
        for name, wanted in expected.items():
            if found[name].shape != wanted.shape:
                return float("inf")
            gap = np.abs(found[name].astype(np.float64) - wanted) / np.maximum(1, np.abs(wanted - offset))
            worst = max(worst, float(gap.max(initial=0)) if np.isfinite(gap).all() else float("inf"))
    return worst


def refuse(kind: str, found: float, rows: int) -> ConfigError:
    """The error of a file that differs from labkit."""
    return ConfigError(
        _("the {kind} file differs from labkit by {found:.2g} on {rows} rows, more than {most:g}: it is not written."),
        kind=kind, found=found, rows=rows, most=TOLERANCE,
    )  # fmt: skip


def described(program: Program) -> dict[str, Any]:
    """Inputs and outputs of a program, and what else its user must know."""
    inputs = [{"name": each.name, "dtype": each.dtype, "shape": list(each.shape)} for each in program.inputs]
    experiment = program.pipeline.experiment
    task = {} if experiment is None else {"name": experiment.name}
    return {**task, "inputs": inputs, **program.facts()}


def made_with(*packages: str) -> dict[str, str]:
    """Versions of what made a file, and the date."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = {name: _version(name) for name in ("labkit", "jax", *packages)}
    return {**found, "python": platform.python_version(), "date": now}


def _version(package: str) -> str:
    """The installed version of a package; "" where it runs from a folder that is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def write_onnx(program: Program, folder: Path, rows: Dataset, int8: bool = False) -> dict[str, Any]:
    """Write :data:`MODEL` and :data:`ABOUT`, and with ``int8`` :data:`INT8`, to a folder.

    Returns:
        What :data:`ABOUT` holds.

    Raises:
        ConfigError: an operation has no counterpart, or the answers differ by more than :data:`TOLERANCE`.
        ExtraError: the extra "onnx" is not installed.
    """
    extras.require("onnx")
    made = made_with("onnx", "onnxruntime")
    model = model_of(program, {name: made[name] for name in ("labkit", "jax")})
    content = model.SerializeToString()
    session = session_of(content)
    if not (found := difference(program, answers_of(session), rows)) <= TOLERANCE:
        raise refuse("ONNX", found, len(rows))
    (folder / MODEL).write_bytes(content)
    about = {
        "model": MODEL, "opset": OPSET, **described(program),
        "outputs": [output.name for output in session.get_outputs()],
        "check": {"rows": len(rows), "difference": found, "tolerance": TOLERANCE}, "made_with": made,
    }  # fmt: skip
    if int8:
        _quantise(program, folder)
        about["int8"] = {"model": INT8, "bytes": (folder / INT8).stat().st_size}
    about["bytes"] = len(content)
    write_about(folder, about)
    return about


def write_about(folder: Path, about: Mapping[str, Any], name: str = ABOUT) -> None:
    """Write a description beside a model."""
    write_atomic(folder / name, json.dumps(about, ensure_ascii=False, indent=1) + "\n")


def _quantise(program: Program, folder: Path) -> None:
    """Weights of products and tables as 7 bits of int8 per column, activations as they come: without the eighth bit,
    which some processors saturate, every machine gives the same answers."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = folder / "model.whole.onnx"
    whole.write_bytes(model_of(program, {"labkit": _version("labkit")}, share=False).SerializeToString())
    try:
        quantize_dynamic(
            whole, folder / INT8, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
            op_types_to_quantize=["MatMul", "Gather"],
        )  # fmt: skip
    finally:
        whole.unlink()


def answers(program: Program, answer: Answer, rows: Dataset) -> np.ndarray:
    """What a program answers to rows, the first output, [n, …]."""
    found = []
    for feeds, expected in program.cases(rows):
        (name,) = expected
        found.append(answer(feeds)[name])
    return np.concatenate(found)


# --- StableHLO --------------------------------------------------------------------------------------------------------


def write_stablehlo(program: Program, folder: Path, rows: Dataset) -> dict[str, Any]:
    """Write :data:`STABLEHLO`, which ``jax.export.deserialize`` reads, and :data:`ABOUT_STABLEHLO`.

    Its inputs are those of ONNX as the model reads them: token ids i32, standardised features; a bias that labkit adds
    in float64 is in the description.

    Raises:
        ConfigError: the answers differ by more than :data:`TOLERANCE`.
    """
    state = program.state
    with plain_convolutions():
        function = jax.jit(lambda arrays: program.function(state, arrays))
        content = jax.export.export(function, platforms=PLATFORMS)(program.traced).serialize()
    loaded = jax.export.deserialize(bytearray(content))

    def answer(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            name: value + program.offset if program.offset is not None else value
            for name, value in jax.device_get(loaded.call(program.as_read(feeds))).items()
        }

    if not (found := difference(program, answer, rows)) <= TOLERANCE:
        raise refuse("StableHLO", found, len(rows))
    (folder / STABLEHLO).write_bytes(content)
    made = made_with("jaxlib")
    expires = (datetime.fromisoformat(made["date"]) + READABLE).date().isoformat()
    about = {
        "model": STABLEHLO, **described(program),
        "inputs": [
            {"name": each.name, "dtype": each.traced or each.dtype, "shape": list(each.shape)}
            for each in program.inputs
        ],
        "platforms": list(PLATFORMS), "calling_convention": loaded.calling_convention_version,
        "check": {"rows": len(rows), "difference": found, "tolerance": TOLERANCE}, "made_with": made,
        "readable_until": expires, "bytes": len(content), **program.constants(),
    }  # fmt: skip
    write_about(folder, about, ABOUT_STABLEHLO)
    return about


def program_for(experiment: Experiment, model: Path, folder: Path) -> Program:
    """The program of a run's model, exported to ``folder``."""
    return program_of(opened(experiment, model), folder)


def lines(about: Mapping[str, Any]) -> Iterator[str]:
    """Markdown about an ONNX file, for the README.md of its folder."""
    check = about["check"]
    yield (
        f"## ONNX\n\n`{MODEL}` (operators version {about['opset']}) computes in any ONNX runtime what labkit "
        f"computes; the greatest difference on {check['rows']} rows was {check['difference']:.1e}. Batch and length "
        f"are variable. `{ABOUT}` describes inputs, outputs and preprocessing."
    )
    if (int8 := about.get("int8")) is not None:
        yield (
            f"`{INT8}` has weights of 8 bits ({int8['bytes'] / 1e6:.1f} MB instead of {about['bytes'] / 1e6:.1f} MB). "
            + int8.get("line", "")
        )


def stablehlo_lines(about: Mapping[str, Any]) -> Iterator[str]:
    """Markdown about a StableHLO file."""
    yield (
        f"## StableHLO\n\n`{STABLEHLO}` is read by `jax.export.deserialize`; it was written by JAX "
        f"{about['made_with']['jax']} on {about['made_with']['date'][:10]}. JAX reads such files for about six months "
        f"(until {about['readable_until']}): a file for serving, not an archive. The weights above are the archive."
    )
