"""The step Predict: predictions with explanations for a text, an image or numbers; export of the model.

Tasks other than classification use :mod:`labkit.app.widgets.answers`.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets

from labkit.app.panel import Panel
from labkit.app.runs import opened, state_of
from labkit.app.state import State
from labkit.app.widgets.answers import KINDS, LONGEST, Asking
from labkit.app.widgets.columns import MOST, ColumnForm
from labkit.app.widgets.controls import hear_while_busy
from labkit.app.widgets.download import Download
from labkit.app.widgets.examples import Why
from labkit.app.widgets.file_answers import FileAnswers
from labkit.app.widgets.forecasts import Forecasts
from labkit.app.widgets.generated import GenerateForm
from labkit.app.widgets.recommendations import Recommends
from labkit.app.widgets.segments import SegmentForm
from labkit.app.widgets.transcribing import Transcribes
from labkit.core import html, source_code
from labkit.core.errors import DataError, RunError
from labkit.core.text import visible
from labkit.core.units import plain, unit_in
from labkit.data.cell_values import ColumnValues, column_values
from labkit.data.io.pixels import Pixels
from labkit.data.targets import targets_of
from labkit.evaluate import run_report
from labkit.evaluate.card import model_card
from labkit.evaluate.formats import Formats, export_run
from labkit.explain.attribution import METHODS
from labkit.i18n import _, translate
from labkit.inference.forecasting import ForecastPipeline
from labkit.inference.image_generation import ImageGenerationPipeline
from labkit.inference.predictor import NumericPrediction, Prediction, Predictions, Predictor
from labkit.inference.recommending import RecommendPipeline
from labkit.inference.registry import pipeline_of
from labkit.inference.segmenting import SegmentationPipeline
from labkit.inference.speech_recognition import SpeechRecognitionPipeline
from labkit.runs.handle import RunHandle
from labkit.tasks.base import ProblemType
from labkit.train.processors import FeatureProcessor
from labkit.viz import explanation_html, media
from labkit.viz.words import message

if TYPE_CHECKING:
    from datasets import Dataset

    from labkit.inference.pipeline import Pipeline

_HERE = Path(__file__).parent
KINDS.register(ForecastPipeline, Forecasts)
KINDS.register(RecommendPipeline, Recommends)
KINDS.register(SegmentationPipeline, SegmentForm)
KINDS.register(ImageGenerationPipeline, GenerateForm)
KINDS.register(SpeechRecognitionPipeline, Transcribes)


class Drop(anywidget.AnyWidget):
    """A place to drop a picture; its pixels arrive as bytes RGBA of ``size`` [height, width]."""

    _esm = _HERE / "drop.js"
    label = traitlets.Unicode().tag(sync=True)
    size = traitlets.List([28, 28]).tag(sync=True)


@dataclass(frozen=True, eq=False)
class Example:
    """What is predicted: a text (or two), a row of a table by column, or an array as the model reads it."""

    given: Any
    pair: str | None = None

    @property
    def array(self) -> bool:
        return isinstance(self.given, np.ndarray)

    def same(self, given: Any) -> bool:
        """Whether it is this text, row or array."""
        return (
            np.array_equal(self.given, given)
            if self.array
            else type(given) is type(self.given) and given == self.given
        )

    def read_by(self, predictor: Predictor) -> tuple[Any, str | None]:
        """The example and second text, as an explainer reads them."""
        if isinstance(self.given, str):
            return predictor.clean(self.given), None if self.pair is None else predictor.clean(self.pair)
        return (self.given if self.array else predictor.processor.examples([self.given])[0]), None

    def code(self, settings: dict[str, Any], method: str | None = None) -> list[str]:
        """Lines of Python that predict and explain it with ``run``, by a method that is not the usual one."""
        how = {} if method in (None, METHODS[0]) else {"method": method}
        if self.array:
            return [
                "",
                "# x: a picture, or numbers, as the model was trained on",
                "run.predict(x[None])",
                source_code.line(source_code.call("run.explain", source_code.variable("x"), **how)),
            ]
        given = (self.given,) if self.pair is None else (self.given, self.pair)
        predict = source_code.call("run.predict", *([one] for one in given), **settings)
        return [source_code.line(predict), source_code.line(source_code.call("run.explain", *given, **how))]


#: Choice of what is exported → settings of ``run.export``.
FORMATS: dict[str, dict[str, bool]] = {
    "weights": {},
    "onnx": {"onnx": True},
    "int8": {"int8": True},
    "stablehlo": {"stablehlo": True},
    "page": {"page": True},
}


class Predict(Panel):
    """Asks a run's model, explains the answer, and exports the model.

    Args:
        run: the run.
        state, language: see :class:`labkit.app.panel.Panel`.
    """

    title = "predict"

    def __init__(
        self, run: RunHandle | None = None, *, state: State | None = None, language: str | None = None
    ):
        self.predictor: Predictor | None = None
        self.example: Example | None = None
        self.found: Predictions | None = None
        self.drawn: tuple[Any, str] | None = None  # a row of the data, and its label
        self.form: ColumnForm | None = None
        self.asking: Asking | None = None  # where the model is no classifier and no regression
        self.asked: tuple[Any, ...] | None = None
        super().__init__(state if state is not None else state_of(run, language))

    def build(self) -> None:
        self.text, self.pair = (
            widgets.Textarea(
                description=self.word(key), rows=3, layout={"width": "98%"}, continuous_update=False
            )
            for key in ("your_text", "second_text")
        )
        self.numbers = widgets.Text(
            description=self.word("your_features"), layout={"width": "98%"}, continuous_update=False
        )
        self.drop = Drop(label=self.word("drop_picture"))
        self.drop.on_msg(self.guarded(self._dropped))
        hear_while_busy(self.drop)
        self.go = self.button("predict", self._predict, primary=True)
        self.any = self.button("from_test", self._draw)
        self.reopen = self.button("open_model", self._open)
        self.stop = self.button("stop_writing", self._stop)
        self.unsure = widgets.FloatSlider(
            0.0, min=0.0, max=1.0, step=0.01, description=self.word("unsure_below")
        )
        self.unsure.readout_format, self.unsure.layout.width = ".2f", "360px"
        self.unsure.style.description_width, self.unsure.tooltip = "auto", self.word("unsure_below_help")
        self.export = self.button("export", self._export)
        self.link = Download(label=self.word("download"))
        self.empty, self.answer = self.html(), self.html()
        self.why = Why(self)
        self.place = widgets.VBox()
        self.files = FileAnswers(self, self.unsure)
        self.on_change(self.unsure, lambda _: self._threshold())
        self.on_change(self.why.method, lambda _: self.renew_code())
        buttons = widgets.HBox([self.go, self.stop, self.any, self.reopen])
        buttons.add_class("lk-form")
        inputs = [self.text, self.pair, self.numbers, self.drop, self.place]
        left = widgets.VBox([*inputs, buttons, self.unsure, self.answer])
        both = widgets.HBox([left, self.why.root])
        both.add_class("lk-two")
        self.with_card = widgets.Checkbox(False, description=self.word("with_card"), indent=False)
        self.with_card.tooltip = self.word("with_card_help")
        self.use = widgets.Textarea(
            placeholder=self.word("intended_use_place"),
            description=self.word("intended_use"),
            rows=3,
            continuous_update=False,
        )
        self.use.layout.width, self.use.style.description_width = "480px", "auto"
        self.use.layout.display = "none"
        self.on_change(self.with_card, self._offer_card)
        self.on_change(self.use, lambda _: self.renew_code())
        self.formats = widgets.Dropdown(
            options=[(self.word(f"format_{name}"), name) for name in FORMATS],
            value="weights",
            layout={"width": "300px"},
        )
        self.formats.tooltip = self.word("formats_help")
        self.formats.description, self.formats.style.description_width = self.word("formats"), "auto"
        self.on_change(self.formats, lambda _: self.renew_code())
        last = widgets.HBox([self.export, self.formats, self.with_card, self.link])
        last.layout.flex_flow, self.export.layout.flex = "row wrap", "0 0 auto"  # else its label is cut
        last = widgets.VBox([self.use, last])
        self.body.children = (self.empty, both, self.files.root, last)
        self.watch(["run", "ended"], self._open)
        self._open()

    def code(self) -> str:
        run = self.state.run
        if run is None:
            return ""
        lines = [opened(run, "run", self.state)]
        if self.asking is not None and self.asked is not None:
            lines += self.asking.code(self.asked)
        elif self.example is not None:
            lines += self.example.code(
                {"unsure_below": self.unsure.value} if self._least() is not None else {},
                self.why.method.value,
            )
        settings: dict[str, Any] = dict(FORMATS[self.formats.value])
        if self.with_card.value:
            settings["card"] = source_code.call("run.card", **self._about())
        return source_code.program(
            [*lines, source_code.line(source_code.call("run.export", "my-model", **settings))]
        )

    def refresh(self) -> bool:
        self.files.refresh()
        if self.asking is not None and self.asked is not None and (text := self.asking.so_far) is not None:
            self.answer.value = self.asking.shown(self.asked, text)
        if not (busy := super().refresh()):
            self.stop.layout.display = "none"
        return busy

    # --- the model ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        run = self.state.run
        self._opened(None)
        if run is not None:
            self.later("open", lambda: _model(run), self._opened)

    def _opened(self, found: tuple[Pipeline, list[ColumnValues]] | None) -> None:
        tool, columns = found if found is not None else (None, [])
        predictor = self.predictor = tool if isinstance(tool, Predictor) else None
        kind = KINDS.get(type(tool))
        self.asking, self.asked = None if kind is None else kind(self, tool), None
        self.form = None
        if predictor is not None and 0 < len(columns) <= MOST:
            self.form = ColumnForm(self, columns, predictor.processor.standard.names)
        shown = self.asking or self.form
        self.put(self.place, [] if shown is None else [shown.root])
        verb = "predict" if self.asking is None else self.asking.verb
        self.go.description, self.go.tooltip = self.word(verb), self.word(f"{verb}_help")
        kind = "" if predictor is None else predictor.processor.modality
        self._show_inputs(kind)
        for button in (self.go, self.any, self.export):
            button.disabled = tool is None
        self.go.layout.display = "none" if kind == "image" else ""
        self.stop.layout.display = "none"
        self.empty.value = "" if tool else html.paragraph(self.word("use_first"), "quiet")
        self.answer.value, self.example, self.found, self.drawn = "", None, None, None
        self.link.clear()
        self.why.clear()
        self.files.show(predictor)
        if kind == "image":
            self.drop.size = list(predictor.processor.shape[:2])
        elif kind == "features":
            self.numbers.placeholder = self.word("features_hint", count=predictor.processor.shape[0])

    def _show_inputs(self, kind: str) -> None:
        predictor = self.predictor
        sure = predictor is not None and predictor.problem_type is not ProblemType.NUMBER
        for widget, shown in (
            (self.text, kind == "text"), (self.pair, predictor is not None and self._pairs()), (self.unsure, sure),
            (self.numbers, kind == "features" and self.form is None), (self.drop, kind == "image"),
        ):  # fmt: skip
            widget.layout.display = "" if shown else "none"

    def _pairs(self) -> bool:
        run = self.state.run
        return run is not None and run_report.rows_of(run).schema.pairs

    def _least(self) -> float | None:
        """The threshold of confidence; None where there is none."""
        sure = self.predictor is not None and self.predictor.problem_type is not ProblemType.NUMBER
        return self.unsure.value if sure and self.unsure.value > 0 else None

    def _threshold(self) -> None:
        self._changed()
        self.files.outdated()
        if self.found is not None:
            self._show(self.found)

    # --- an example ---------------------------------------------------------------------------------------------

    def _predict(self) -> None:
        if self.asking is not None:
            return self._say(self.asking)
        predictor = self._ready()
        if predictor.processor.modality == "text":
            text = _filled(self.text, self.word("your_text"))
            pair = (
                _filled(self.pair, self.word("second_text")) if self.pair.layout.display != "none" else None
            )
            return self._ask(Example(text, pair))
        if self.form is None:
            return self._ask(Example(numbers_of(self.numbers.value, predictor.processor.shape[0])))
        self._clear_answer()
        if (record := self.form.record()) is not None:
            self._ask(Example(record))

    def _say(self, asking: Asking) -> None:
        """Predict with a model that is not a classifier."""
        asked = self.asked = asking.asked()
        self._changed()
        self.stop.layout.display = "" if asking.streams else "none"

        def work() -> Any:
            try:
                return asking.answer(asked)
            finally:
                asking.so_far = None

        def show(found: object) -> None:
            if asking is self.asking:
                self.answer.value = asking.shown(asked, found)

        self.later("predict", work, show)

    def _stop(self) -> None:
        if self.asking is not None:
            self.asking.stopped.set()

    def _dropped(
        self, widget: object, content: dict[str, Any], buffers: Sequence[memoryview] | None = None
    ) -> None:
        if content.get("type") == "refused":
            raise DataError(
                _("{name!r} is not an image that this page can read: {error}."),
                name=content.get("name"),
                error=content.get("error"),
            )
        if content.get("type") != "picture" or not buffers:
            return
        predictor = self._ready()
        tall, wide = predictor.processor.shape[:2]
        pixels = np.frombuffer(buffers[0], np.uint8).reshape(tall, wide, 4)
        self._ask(Example(as_read(pixels, predictor.processor.shape[2], predictor.processor.pixels)))

    def _draw(self) -> None:
        """A random row of the test split."""
        run = self.state.run
        assert run is not None
        rows = run_report.rows_of(run)
        part = rows[next(name for name in ("test", "validation", "train") if len(rows.splits.get(name, ())))]
        place = int(np.random.default_rng().integers(len(part)))
        if self.asking is not None:
            self.asking.take(part, place)
            return self._predict()
        row, predictor = part[place], self._ready()
        truth = _truth(predictor, part.select([place]))
        if predictor.processor.modality == "text":
            self.text.value, self.pair.value = row["text"], row.get("text_pair") or ""
            self.drawn = (row["text"], truth)
            return self._predict()
        values = predictor.processor.raw(part.select([place])).inputs[0]
        if self.form is not None:
            self.form.fill(values)
            self.drawn = (self.form.record(), truth)
            return self._predict()
        if predictor.processor.modality == "features":
            self.numbers.value = ", ".join(f"{value:.6g}" for value in values)
        example = Example(values)
        self.drawn = (example.given, truth)
        return self._ask(example)

    def _ready(self) -> Predictor:
        if self.predictor is None:
            raise RunError(message("use_first"))
        return self.predictor

    def _clear_answer(self) -> None:
        self.answer.value, self.example, self.found = "", None, None
        self.why.clear()

    def _ask(self, example: Example) -> None:
        """Predict for an example."""
        predictor = self._ready()
        self._clear_answer()
        self.example = example
        self._changed()

        def work() -> tuple[Example, Predictions]:
            given = np.asarray(example.given)[None] if example.array else [example.given]
            return example, predictor.predictions(given, None if example.pair is None else [example.pair])

        self.later("predict", work, self._answered)

    def _answered(self, answer: tuple[Example, Predictions]) -> None:
        example, self.found = answer
        if example is not self.example or self.predictor is None:
            return
        self._show(self.found)
        (found,) = self.found
        classes = self.predictor.problem_type is ProblemType.CLASS
        target = found.label if classes and isinstance(found, Prediction) else None
        self.why.ask(self.predictor, *example.read_by(self.predictor), target)

    def _show(self, predictions: Predictions) -> None:
        assert self.example is not None and self.predictor is not None
        example, language, (found,) = self.example, self.state.language, predictions
        truth = ""
        if (
            self.drawn is not None
            and self.drawn[0] is not None
            and np.array_equal(self.drawn[0], example.given)
        ):
            truth = self.drawn[1]
        if isinstance(found, NumericPrediction):
            parts = [html.cards((_with_unit(name), plain(value, 6)) for name, value in found.value.items())]
        else:
            label = visible(found.label, 60) or self.word("none")
            chance = f"{100 * found.confidence:.1f} %"
            parts = [html.cards([(self.word("answer"), label), (self.word("probability"), chance)])]
            if (least := self._least()) is not None and found.confidence < least:
                parts.append(html.note(self.word("is_unsure", least=f"{100 * least:.0f} %"), "warn"))
            parts.append(explanation_html.probabilities(found.probability, language))
        if truth:
            parts.insert(1, html.paragraph(f"{self.word('truth')}: {truth}"))
        if example.array and np.ndim(example.given) == 3:
            parts.insert(1, media.picture(example.given, self.word("answer"), 168))
        parts += [html.note(translate(note, language), "warn") for note in predictions.notes]
        self.answer.value = html.joined(*parts)

    # --- taking it away -----------------------------------------------------------------------------------------

    def _export(self) -> None:
        run, about = self.state.run, self._about() if self.with_card.value else None
        assert run is not None
        formats = Formats(**FORMATS[self.formats.value])
        self.later("export", lambda: archive(run, about, formats), self._exported)

    def _offer_card(self, chosen: bool) -> None:
        self.use.layout.display = "" if chosen else "none"
        self.renew_code()

    def _about(self) -> dict[str, Any]:
        """What a person has said for the model card."""
        use = self.use.value.strip()
        return {"intended_use": use} if use else {}

    def _exported(self, path: Path) -> None:
        self.link.offer(path)
        self.say(self.word("exported", file=path.name, size=f"{path.stat().st_size / 1e6:.2f}"))


def archive(run: RunHandle, about: dict[str, Any] | None = None, formats: Formats | None = None) -> Path:
    """The model of a run as a zip file in the working directory, named after the run; with a model card where
    ``about`` is given, the arguments of :func:`~labkit.evaluate.card.model_card`, and with further ``formats``."""
    pipeline_of(run)  # says so where there is none, or it is damaged
    name = re.sub(r"[^\w-]+", "-", run.name).strip("-")[:60] or run.id
    card = "" if about is None else model_card(run, **about).text
    with tempfile.TemporaryDirectory() as folder:
        model = export_run(run, Path(folder) / "model", card, formats or Formats())
        return Path(shutil.make_archive(f"{name}-model", "zip", model))


def as_read(pixels: np.ndarray, channels: int, unit: Pixels | None = None) -> np.ndarray:
    """Pixels RGBA [h, w, 4] on white as a model reads them, [h, w, c] in ``unit``: grey as ITU-R BT.601
    weighs the colours."""
    share = pixels[..., 3:].astype(np.float64) / 255
    colour = pixels[..., :3] * share + 255 * (1 - share)
    if channels == 1:
        colour = (colour @ [0.299, 0.587, 0.114])[..., None]
    return (unit or Pixels()).of_bytes(colour)


def _model(run: RunHandle) -> tuple[Pipeline, list[ColumnValues]] | None:
    """The opened model, and of a table with named columns what these contain; None while there is no model."""
    try:
        tool = pipeline_of(run)
    except RunError:
        return None
    processor = tool.processor if isinstance(tool, Predictor) else None
    standard = processor.standard if isinstance(processor, FeatureProcessor) else None
    if standard is None or not standard.names or len(standard.columns or standard.names) > MOST:
        return tool, []
    return tool, column_values(run_report.rows_of(run)["train"], standard.columns, standard.names)


def _filled(control: widgets.Textarea, name: str) -> str:
    """The text of a control. Raises :class:`DataError` where there is none."""
    if not control.value.strip():
        raise DataError(_("{name} is empty: enter a text."), name=name)
    return control.value[:LONGEST]


def _truth(predictor: Predictor, part: Dataset) -> str:
    """The label of a row, as text; "" where it has none."""
    if (label := int(part["label"][0])) < 0:
        return ""
    if predictor.problem_type is ProblemType.CLASS:
        return visible(predictor.classes[label], 60) if label < len(predictor.classes) else ""
    targets = targets_of(part)
    assert targets is not None, "labels and numbers have targets"
    if predictor.problem_type is ProblemType.LABELS:
        return ", ".join(
            visible(name, 60) for name, there in zip(predictor.classes, targets[0], strict=True) if there
        )
    named = zip(predictor.classes, targets[0], strict=True)
    one = len(predictor.classes) == 1
    return ", ".join(plain(float(value), 6) if one else f"{visible(name, 60)} {plain(float(value), 6)}"
                     for name, value in named)  # fmt: skip


def _with_unit(name: str) -> str:
    unit = unit_in(name)
    return f"{visible(name, 60)} ({unit})" if unit else visible(name, 60)


def numbers_of(text: str, count: int) -> np.ndarray:
    """The numbers in a text, separated by commas or semicolons. Raises :class:`DataError`."""
    values = []
    for part in filter(None, re.split(r"[,;\s]+", text.strip())):
        try:
            values.append(float(part))
        except ValueError:
            raise DataError(
                _("could not convert string to float: {part!r}. Give {count} comma-separated numbers."),
                part=part, count=count,
            ) from None  # fmt: skip
    if len(values) != count:
        raise DataError(
            _("got {n_values} numbers; the model expects {count}."), n_values=len(values), count=count
        )
    return np.asarray(values, np.float32)
