"""Smaller forms of a run's model in the step Evaluate: distilled, quantised or pruned, judged and saved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.app.runs import RUN_CHANGES
from labkit.core import html, source_code
from labkit.core.errors import DataError
from labkit.core.frontend import is_app
from labkit.core.units import scaled, sized
from labkit.evaluate.judge import judge
from labkit.evaluate.run_report import folder_of, rows_of
from labkit.i18n import _, translate
from labkit.i18n.labels import score_name
from labkit.inference.smaller import BITS, PrunedPredictor, QuantizedPredictor
from labkit.models import models
from labkit.models.base import Modality
from labkit.models.bert.model import BertConfig
from labkit.runs.handle import RunHandle
from labkit.search.student import student_rows
from labkit.tasks.base import ProblemType
from labkit.train.experiment import experiment_of
from labkit.viz.words import message

if TYPE_CHECKING:
    from labkit.app.panel import Panel

WAYS = ("quantize", "prune", "distill")
#: Students that are offered: architecture and preset.
#: The way that trains another model.
DISTILL = "distill"
STUDENTS = (("textcnn", "small"), ("textcnn", "tiny"), ("bert", "tiny"))


class SmallerView:
    """A tab of the step Evaluate. ``root`` is its widget."""

    def __init__(self, panel: Panel):
        self.panel, self.run = panel, panel.state.run
        word = panel.word
        self.way = widgets.ToggleButtons(options=[(word(f"way_{way}"), way) for way in WAYS],
                                         tooltips=[word(f"way_{way}_help") for way in WAYS])  # fmt: skip
        self.bits = widgets.Dropdown(
            options=[(f"int{bits}", bits) for bits in BITS], description=word("bits")
        )
        self.heads, self.units = (
            widgets.FloatSlider(
                0.25, min=0.0, max=0.9, step=0.05, continuous_update=False, description=word(key)
            )
            for key in ("heads_removed", "units_removed")
        )
        self.texts = widgets.Text(
            description=word("more_texts"), placeholder="texts.txt", continuous_update=False
        )
        offered = [
            (f"{name} ({preset})", (name, preset))
            for name, preset in STUDENTS
            if preset in models[name].PRESETS
        ]
        self.student = widgets.Dropdown(options=offered, description=word("student"))
        self.folder = widgets.Text(description=word("save_in"), continuous_update=False)
        self.go = panel.button("make_smaller", self._make, primary=True)
        self.shown = panel.html()
        form = widgets.HBox(
            [self.bits, self.heads, self.units, self.texts, self.student, self.folder, self.go]
        )
        form.add_class("lk-form")
        about = panel.html(html.paragraph(word("smaller_about"), "quiet"))
        self.root = widgets.VBox([about, self.way, form, self.shown])
        panel.on_change(self.way, lambda _way: self._arrange())
        self._arrange()

    def show_run(self, run: RunHandle) -> None:
        """Offer the forms that the model of another run can have."""
        self.run, self.shown.value = run, ""
        experiment = run.experiment
        texts = experiment.model.modality in (Modality.TEXT, Modality.PAIR)
        classifies = experiment.task.problem_type is ProblemType.CLASS
        ways = ["quantize"]
        ways += ["prune"] if isinstance(experiment.model, BertConfig) and classifies else []
        ways += ["distill"] if texts and classifies else []
        with self.panel.filling():
            self.way.options = [(self.panel.word(f"way_{way}"), way) for way in ways]
            self.way.value = ways[0]
        self._arrange()

    def _arrange(self) -> None:
        """The controls of the way that is chosen."""
        way = self.way.value
        shown = {"quantize": (self.bits, self.folder), "prune": (self.heads, self.units, self.folder),
                 "distill": (self.texts, self.student)}[way]  # fmt: skip
        for control in (self.bits, self.heads, self.units, self.folder, self.texts, self.student):
            control.layout.display = "" if control in shown else "none"
        if self.run is not None and way != DISTILL:
            name = re.sub(r"[^\w-]+", "-", self.run.name)[:60].strip("-") or "model"
            place = Path("exports") / f"{name}-{'pruned' if way == 'prune' else 'quantized'}"
            number = 2
            while (made := place if number == 2 else place.with_name(f"{place.name}-{number - 1}")).exists():
                number += 1
            with self.panel.filling():
                self.folder.value = str(made)
        self.panel.renew_code()

    def code_lines(self) -> list[str]:
        """Code of the form that is chosen."""
        run, way = source_code.variable("run"), self.way.value
        if way == DISTILL:
            name, preset = self.student.value
            student = source_code.call(source_code.item("lk.models", name), preset=preset)
            return [
                source_code.assign("student", source_code.call("lk.distill", run, self.texts.value, student))
            ]
        made = source_code.call("lk.quantize", run, self.bits.value)
        if way == "prune":
            made = source_code.call("lk.prune", run, heads=self.heads.value, units=self.units.value)
        save = source_code.call("small.save", self.folder.value)
        return [source_code.assign("small", made), source_code.line(save)]

    def _make(self) -> None:
        run, way = self.run, self.way.value
        if run is None:
            return
        if way == DISTILL:
            self._distill(run)
            return
        place = self.folder.value.strip()
        if not place:
            raise DataError(message("no_folder"))
        bits, heads, units = self.bits.value, self.heads.value, self.units.value

        def work() -> tuple[RunHandle, Path, Any]:
            model, rows = folder_of(run), rows_of(run)
            if way == "quantize":
                small: Any = QuantizedPredictor(model, bits)
            else:
                small = PrunedPredictor(model, rows["validation"], heads, units)
            found = small.save(Path(place).expanduser())
            return run, found, judge({"model": run, "smaller": small}, rows)

        self.panel.later("smaller", work, self._show)

    def _distill(self, run: RunHandle) -> None:
        place = self.texts.value.strip()
        if not place:
            raise DataError(message("no_source"))
        name, preset = self.student.value

        def work() -> RunHandle:
            rows = student_rows(run, place)
            model = models[name](**({"preset": preset} if preset else {}))
            options = {"task": "distill"}
            rows, experiment = experiment_of(rows, model, False, options, f"{run.name} distilled")
            return RunHandle.create(run.store, experiment, rows).start(detach=is_app())

        self.panel.later("smaller", work, self._began)

    def _began(self, student: RunHandle) -> None:
        RUN_CHANGES.number += 1
        said = translate(
            _("The student {name!r} is being trained: follow it in the step Train, then compare it with this run.",
              name=student.name), self.panel.state.language,
        )  # fmt: skip
        self.shown.value = html.note(said, "info")

    def _show(self, found: tuple[RunHandle, Path, Any]) -> None:
        run, place, frame = found
        if run is not self.run:  # another run may have been chosen meanwhile
            return
        language, word = self.panel.state.language, self.panel.word
        metric = next(iter(frame.columns))
        lines = []
        for name, line in frame.to_dict(orient="index").items():
            gain = ""
            if line.get("gain") == line.get("gain"):  # the first has none
                gain = f"{line['gain']:+.4f} ({line['gain_low']:+.4f} – {line['gain_high']:+.4f})"
            lines.append([
                word("this_model" if name == "model" else "smaller_model"),
                f"{line[metric]:.4f} ({line['low']:.4f} – {line['high']:.4f})", gain,
                scaled(line["parameters"]), sized(int(line["bytes"])), f"{line['ms']:.2f}",
            ])  # fmt: skip
        head = ["", translate(score_name(metric), language), *(translate(each, language) for each in (
            _("gain"), _("parameters"), _("size"), _("milliseconds for an answer")))]  # fmt: skip
        said = translate(
            _("Saved in {folder}: lk.Predictor({folder!r}) opens it.", folder=str(place)), language
        )
        table = html.table(head, lines, numeric=range(1, len(head)))
        self.shown.value = html.joined(html.note(said, "good"), html.scrolled(table, said))
