"""Export of a run's model with further formats: ONNX, int8, StableHLO, a page that answers offline."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.core import extras
from labkit.core.errors import ConfigError
from labkit.data.rows import Rows
from labkit.evaluate.evaluate import make_report
from labkit.evaluate.run_report import rows_of
from labkit.i18n import _
from labkit.inference.export import export
from labkit.inference.page.write import write_page
from labkit.inference.to_onnx import files
from labkit.inference.to_onnx.programs import Program
from labkit.runs.handle import RunHandle, model_of
from labkit.tasks.base import ProblemType


@dataclass(frozen=True)
class Formats:
    """What is written beside the weights.

    Attributes:
        onnx: ``model.onnx`` with ``onnx.json``.
        int8: ``model.int8.onnx`` too, with its score on the test rows.
        stablehlo: ``model.stablehlo`` with ``stablehlo.json``.
        page: ``page/index.html``, which answers in a browser without a network.
        web: folder of the files of onnxruntime-web, or its ``.tgz``; "" to fetch them by ``npm pack``.
    """

    onnx: bool = False
    int8: bool = False
    stablehlo: bool = False
    page: bool = False
    web: str | Path = ""


def export_run(run: RunHandle, folder: Path, card: str = "", formats: Formats = Formats()) -> Path:
    """Export the model of a run to a new folder, with further formats; where one of them is refused, nothing is left.

    Raises:
        ConfigError: the folder is not empty; other programs would read the model otherwise than labkit; a format cannot
            hold it, or differs from labkit.
        ExtraError: the extra "onnx" is not installed.
    """
    experiment, model = run.experiment, model_of(run.info)[0]
    wanted = formats.onnx or formats.int8 or formats.page
    if wanted:
        extras.require("onnx")
    export(experiment, model, folder, card)
    if not wanted and not formats.stablehlo:
        return folder
    try:
        rows = rows_of(run)
        program = files.program_for(experiment, model, folder)
        lines: list[str] = []
        if wanted:
            lines += _onnx(program, folder, rows, formats)
        if formats.stablehlo:
            lines += files.stablehlo_lines(files.write_stablehlo(program, folder, files.rows_to_check(rows)))
        readme = folder / "README.md"
        readme.write_text(
            "\n\n".join([readme.read_text(encoding="utf-8").rstrip(), *lines]) + "\n", encoding="utf-8"
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _onnx(program: Program, folder: Path, rows: Rows, formats: Formats) -> list[str]:
    """Write the files of ONNX, and the page; returns lines for the README.md."""
    small = formats.int8 or (formats.page and program.pipeline.experiment.task.problem_type is not None)
    if formats.int8 and program.pipeline.experiment.task.problem_type is None:
        raise ConfigError(
            _(
                "int8 is scored on labelled test rows, which the task of this run does not have: export without int8."
            )
        )
    about = files.write_onnx(program, folder, files.rows_to_check(rows), small)
    if small:
        about["int8"].update(_score(program, folder, rows))
        files.write_about(folder, about)
    lines = list(files.lines(about))
    if formats.page:
        made = write_page(folder, about, program, formats.web)
        lines.append(
            "## Offline page\n\n`page/index.html` answers in a browser, opened by a double click, without server and "
            f"network ({made.stat().st_size / 1e6:.0f} MB)."
        )
    return lines


def _score(program: Program, folder: Path, rows: Rows) -> dict[str, Any]:
    """The score of the int8 file on the test rows with its interval, and that of labkit, for the description."""
    split = "test" if len(rows.splits.get("test", ())) else "validation"
    if not len(rows.splits.get(split, ())):
        raise ConfigError(_("int8 is scored on test rows, and this run has none: export without int8."))
    predictor, part = program.pipeline, rows[split]
    task = predictor.experiment.task
    session = files.session_of(str(folder / files.INT8))
    found = {}
    for name, answers in (
        ("int8", files.answers(program, files.answers_of(session), part)),
        ("labkit", predictor.predict_encoded(part)),
    ):
        report = make_report(rows, split, predictor.classes, answers, task, baselines=False)
        metric = (
            next(iter(report.intervals)) if task.problem_type is ProblemType.NUMBER else _f1(report.intervals)
        )
        value, edges = report.scores[metric], report.intervals[metric]
        found[name] = {
            "metric": metric,
            "value": _rounded(value),
            "low": _rounded(edges[0]),
            "high": _rounded(edges[1]),
        }
    small, whole = found["int8"], found["labkit"]
    line = (
        f"On the {len(part)} {split} rows its {small['metric']} is {small['value']} (95 % interval {small['low']} to "
        f"{small['high']}); that of the float32 model is {whole['value']} ({whole['low']} to {whole['high']})."
    )
    return {"score": small, "float32": whole, "rows": len(part), "line": line}


def _f1(intervals: Any) -> str:
    """The name of the first F1 among metrics."""
    return next((name for name in intervals if "f1" in name.lower()), next(iter(intervals)))


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
