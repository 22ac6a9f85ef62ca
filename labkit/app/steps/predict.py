"""The step Predict: predictions with explanations for a text, an image or numbers; export of the model.

Tasks other than classification use :mod:`labkit.app.widgets.answers`.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
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
from labkit.app.widgets.controls import hear_while_busy
from labkit.app.widgets.examples import Why
from labkit.core import html, source_code
from labkit.core.errors import DataError, RunError
from labkit.core.text import visible
from labkit.data.io.pixels import Pixels
from labkit.evaluate import run_report
from labkit.i18n import _, translate
from labkit.inference.export import export
from labkit.inference.predictor import NumericPrediction, Predictions, Predictor
from labkit.inference.registry import pipeline_of
from labkit.runs.handle import RunHandle
from labkit.tasks.base import ProblemType
from labkit.viz import explanation_html, media
from labkit.viz.words import message

if TYPE_CHECKING:
    from labkit.inference.pipeline import Pipeline
    from labkit.train.processors import FeatureProcessor

_HERE = Path(__file__).parent


class Drop(anywidget.AnyWidget):
    """A place to drop a picture; its pixels arrive as bytes RGBA of ``size`` [height, width]."""

    _esm = _HERE / "drop.js"
    label = traitlets.Unicode().tag(sync=True)
    size = traitlets.List([28, 28]).tag(sync=True)


class Link(anywidget.AnyWidget):
    """A link to ``file``, a path from the notebook's folder."""

    _esm = _HERE / "link.js"
    file = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)


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
        self.example: tuple[Any, str | None] | None = None
        self.asking: Asking | None = None  # where the model tells no classes
        self.asked: tuple[Any, ...] | None = None
        super().__init__(state if state is not None else state_of(run, language))

    def build(self) -> None:
        self.text, self.pair = (
            widgets.Textarea(description=self.word(key), rows=3, layout={"width": "98%"})
            for key in ("your_text", "second_text")
        )
        self.numbers = widgets.Text(description=self.word("your_features"), layout={"width": "98%"})
        self.drop = Drop(label=self.word("drop_picture"))
        self.drop.on_msg(self.guarded(self._dropped))
        hear_while_busy(self.drop)
        self.go = self.button("predict", self._predict, primary=True)
        self.any = self.button("from_test", self._draw)
        self.reopen = self.button("open_model", self._open)
        self.export = self.button("export", self._export)
        self.link = Link(label=self.word("download"))
        self.empty, self.answer = self.html(), self.html()
        self.why = Why(self)
        self.place = widgets.VBox()
        buttons = widgets.HBox([self.go, self.any, self.reopen])
        buttons.add_class("lk-form")
        left = widgets.VBox([self.text, self.pair, self.numbers, self.drop, self.place, buttons, self.answer])
        both = widgets.HBox([left, self.why.root])
        both.add_class("lk-two")
        last = widgets.HBox([self.export, self.link])
        self.body.children = (self.empty, both, last)
        self.watch(["run", "ended"], self._open)
        self._open()

    def code(self) -> str:
        run = self.state.run
        if run is None:
            return ""
        lines = [opened(run, "run", self.state)]
        if self.asking is not None and self.asked is not None:
            lines += self.asking.code(self.asked)
        elif self.example is not None and isinstance(self.example[0], str):
            text, pair = self.example
            given = (text,) if pair is None else (text, pair)
            lines.append(source_code.line(source_code.call("run.predict", *([one] for one in given))))
            lines.append(source_code.line(source_code.call("run.explain", *given)))
        elif self.example is not None:
            lines += [
                "",
                "# x: a picture, or numbers, as the model was trained on",
                "run.predict(x[None])",
                "run.explain(x)",
            ]
        return source_code.program([*lines, 'run.export("my-model")'])

    # --- the model ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        run = self.state.run
        self._opened(None)
        if run is not None:
            self.later("open", lambda: _model(run), self._opened)

    def _opened(self, tool: Pipeline | None) -> None:
        predictor = self.predictor = tool if isinstance(tool, Predictor) else None
        kind = KINDS.get(type(tool))
        self.asking, self.asked = None if kind is None else kind(self, tool), None
        self.put(self.place, [] if self.asking is None else [self.asking.root])
        verb = "predict" if self.asking is None else self.asking.verb
        self.go.description, self.go.tooltip = self.word(verb), self.word(f"{verb}_help")
        kind = "" if predictor is None else predictor.processor.modality
        pairs = predictor is not None and self._pairs()
        for widget, shown in ((self.text, kind == "text"), (self.pair, pairs), (self.numbers, kind == "features"),
                              (self.drop, kind == "image")):  # fmt: skip
            widget.layout.display = "" if shown else "none"
        for button in (self.go, self.any, self.export):
            button.disabled = tool is None
        self.go.layout.display = "none" if kind == "image" else ""
        self.empty.value = "" if tool else html.paragraph(self.word("use_first"), "quiet")
        self.answer.value, self.link.file, self.example = "", "", None
        self.why.clear()
        if kind == "image":
            self.drop.size = list(predictor.processor.shape[:2])
        elif kind == "features":
            columns = _columns(predictor.processor)
            self.numbers.placeholder = (
                self.word("columns_hint", names=", ".join(columns))
                if columns
                else self.word("features_hint", count=predictor.processor.shape[0])
            )

    def _pairs(self) -> bool:
        run = self.state.run
        return run is not None and run_report.rows_of(run).schema.pairs

    # --- an example ---------------------------------------------------------------------------------------------

    def _predict(self) -> None:
        if self.asking is not None:
            return self._say(self.asking)
        predictor = self._ready()
        if predictor.processor.modality == "text":
            text = predictor.clean(self.text.value[:LONGEST])
            shown = self.pair.layout.display != "none"
            self._ask(text, predictor.clean(self.pair.value[:LONGEST]) if shown else None)
        else:
            self._ask(_features(self.numbers.value, predictor.processor), None)

    def _say(self, asking: Asking) -> None:
        """Predict with a model that is not a classifier."""
        asked = self.asked = asking.asked()
        self._changed()

        def show(found: object) -> None:
            if asking is self.asking:
                self.answer.value = asking.shown(asked, found)

        self.later("predict", lambda: asking.answer(asked), show)

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
        self._ask(as_read(pixels, predictor.processor.shape[2], predictor.processor.pixels), None)

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
        if predictor.processor.modality == "text":
            self.text.value, self.pair.value = row["text"], row.get("text_pair") or ""
            return self._predict()
        values = predictor.processor.raw(part.select([place])).inputs[0]
        if predictor.processor.modality == "features":
            self.numbers.value = ", ".join(f"{value:.6g}" for value in values)
        return self._ask(values, None)

    def _ready(self) -> Predictor:
        if self.predictor is None:
            raise RunError(message("use_first"))
        return self.predictor

    def _ask(self, example: object, pair: str | None) -> None:
        """Answer an example that is clean already."""
        predictor = self._ready()
        self.example = (example, pair)
        self._changed()

        def work() -> Predictions:
            given = [example] if isinstance(example, str) else np.asarray(example)[None]
            return predictor.predictions(given, None if pair is None else [pair], clean=False)

        self.later("predict", work, self._answered)

    def _answered(self, predictions: Predictions) -> None:
        assert self.example is not None and self.predictor is not None
        (example, pair), language = self.example, self.state.language
        (found,) = predictions
        if isinstance(found, NumericPrediction):
            parts, target = (
                [html.cards((visible(name, 60), f"{value:.5g}") for name, value in found.value.items())],
                None,
            )
        else:
            label = visible(found.label, 60) or self.word("none")
            chance = f"{100 * found.confidence:.1f} %"
            parts = [html.cards([(self.word("answer"), label), (self.word("probability"), chance)])]
            parts.append(explanation_html.probabilities(found.probability, language))
            target = None if self.predictor.problem_type is ProblemType.LABELS else found.label
        if not isinstance(example, str) and np.ndim(example) == 3:
            parts.insert(1, media.picture(example, self.word("answer"), 168))
        parts += [html.note(translate(note, language), "warn") for note in predictions.notes]
        self.answer.value = html.joined(*parts)
        self.why.ask(self.predictor, example, pair, target)

    # --- taking it away -----------------------------------------------------------------------------------------

    def _export(self) -> None:
        run = self.state.run
        assert run is not None
        self.later("export", lambda: archive(run), self._exported)

    def _exported(self, path: Path) -> None:
        self.link.file = path.name
        self.say(self.word("exported", file=path.name, size=f"{path.stat().st_size / 1e6:.2f}"))


def archive(run: RunHandle) -> Path:
    """The model of a run as a zip file in the working directory, named after the run."""
    pipeline_of(run)  # says so where there is none, or it is damaged
    name = re.sub(r"[^\w-]+", "-", run.name).strip("-")[:60] or run.id
    with tempfile.TemporaryDirectory() as folder:
        model = export(run.experiment, run.info.folder / "model", Path(folder) / "model")
        return Path(shutil.make_archive(f"{name}-model", "zip", model))


def as_read(pixels: np.ndarray, channels: int, unit: Pixels | None = None) -> np.ndarray:
    """Pixels RGBA [h, w, 4] on white as a model reads them, [h, w, c] in ``unit``: grey as ITU-R BT.601
    weighs the colours."""
    share = pixels[..., 3:].astype(np.float64) / 255
    colour = pixels[..., :3] * share + 255 * (1 - share)
    if channels == 1:
        colour = (colour @ [0.299, 0.587, 0.114])[..., None]
    return (unit or Pixels()).of_bytes(colour)


def _model(run: RunHandle) -> Any:
    """What the model is used by; None while there is none."""
    try:
        return pipeline_of(run)
    except RunError:
        return None


def _columns(processor: FeatureProcessor) -> tuple[str, ...]:
    """Source columns of features of which some are more than a number: categories, dates, yes and no."""
    columns = processor.standard.columns if processor.standard else ()
    return (
        tuple(visible(each.name, 40) for each in columns)
        if any(each.kind != "number" for each in columns)
        else ()
    )


def _features(text: str, processor: Any) -> np.ndarray:
    """The features that a text holds: the cells of the source columns in their order, or the numbers of the
    features.

    Raises:
        DataError: a cell is not what its column holds, or there are too few or too many.
    """
    cells = [cell.strip() for cell in re.split("[,;]", text)]
    if (columns := _columns(processor)) and len(cells) == len(columns):
        record = {
            each.name: cell or None for each, cell in zip(processor.standard.columns, cells, strict=True)
        }
        try:
            return np.asarray(processor.examples([record]))[0]
        except DataError:
            if len(cells) != processor.shape[0]:  # else they may be the numbers of a row that was drawn
                raise
    return numbers_of(text, processor.shape[0])


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
