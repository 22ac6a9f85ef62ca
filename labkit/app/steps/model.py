"""The step Model: task, architecture and sizes, training settings, and estimated cost."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import ipywidgets as widgets

from labkit.app.panel import Panel
from labkit.app.state import State, state_with
from labkit.app.widgets import drawing
from labkit.app.widgets.costs import Costs
from labkit.app.widgets.forms import LEFT_OUT, Form
from labkit.app.widgets.privacy import PrivacyForm
from labkit.app.widgets.suitability import pretrained_presets, warnings_of
from labkit.core import html, units
from labkit.core.config import Config
from labkit.core.errors import ConfigError, LabkitError
from labkit.data.answers import has_answers
from labkit.data.rows import Rows
from labkit.data.tags import has_tags
from labkit.data.transcripts import has_transcripts
from labkit.hub.download import Cancelled, cancelled_by
from labkit.hub.samples import SAMPLES, folder, is_cached
from labkit.i18n import _, translate
from labkit.models import models
from labkit.models.base import Modality, ModelConfig
from labkit.profile.cost import device_limit
from labkit.tasks import tasks
from labkit.tasks.base import ProblemType
from labkit.train.cost_preview import CostPreview, CostPreviews
from labkit.train.experiment import check_reads
from labkit.train.lr_finder import RateSearchResult, find_learning_rate
from labkit.train.optimizer import Optimizer
from labkit.viz import charts, curves
from labkit.viz.augmentation import AugmentedPictures, preview_augmentation
from labkit.viz.svg import inline
from labkit.viz.words import label_of, title_of

if TYPE_CHECKING:
    from labkit.data.io.load import RowSource

#: Fields at the front; the others are folded away.
TRAINING = ("epochs", "batch_size", "patience", "seed")
OPTIMIZER = ("learning_rate", "schedule", "warmup", "algorithm", "trainable")
#: Bytes of a parameter in training: it, its gradient and the two means of Adam, in float32.
EACH = 16
#: Word for the end of the drawing.
_OUT = {
    ProblemType.CLASS: "out_classes",
    ProblemType.LABELS: "out_classes",
    ProblemType.NUMBER: "out_number",
}
_CALM = 0.35


class Model(Panel):
    """Pick and shape a model; see at once what it is made of and what training it would cost.

    Args:
        rows: what :func:`labkit.load` returns or takes.
        state, language: see :class:`labkit.app.panel.Panel`.
    """

    title: ClassVar[str] = "model"

    def __init__(
        self, rows: RowSource | None = None, *, state: State | None = None, language: str | None = None
    ):
        self.cost_previews = CostPreviews()
        self.forms: dict[str, Form] = {}
        self._made: dict[str, Any] = {}
        super().__init__(state_with(rows, state, language))

    def build(self) -> None:
        self.none = self.html()
        self.task = widgets.Dropdown(description=self.word("task"))
        self.which = widgets.ToggleButtons(description=self.word("architecture"))
        self.unfit = self.html()
        self.preset = widgets.Dropdown(description=label_of("preset", self.state.language))
        self.hub = widgets.Text(
            description=self.word("hub_name"), placeholder="organisation/name", continuous_update=False
        )
        self._cancelled: threading.Event | None = None
        self.arrived = widgets.IntProgress(0, 0, 1)
        self.arrived.style.description_width = "auto"
        self.cancel = self.button("cancel_download", self._cancel)
        self.fetching = widgets.HBox([self.arrived, self.cancel])
        self.fetching.layout.display = "none"
        self.pinned = widgets.Checkbox(self.state.pinned, description=self.word("pin"), indent=False)
        self.reset = self.button("reset_settings", self._reset)
        self.sizes, self.training = widgets.VBox(), widgets.VBox()
        self.drawing, self.schedule, self.warnings, self.rates = (self.html() for _ in range(4))
        self.augmented = self.html()
        self.find_rate = self.button("find_rate", self._find_rate)
        self.use_rate = self.button("use_rate", self._use_rate)
        self.use_rate.layout.display = "none"
        self.found_rate = 0.0
        self.costs = Costs(self)
        top, keep = widgets.HBox([self.task, self.preset, self.hub]), widgets.HBox([self.pinned, self.reset])
        for box in (top, keep):
            box.add_class("lk-form")
        finder = widgets.HBox([self.find_rate, self.use_rate])
        left = widgets.VBox(
            [self.sizes, self.training, self.augmented, finder, self.rates, self.schedule, keep]
        )
        right = widgets.VBox([self.costs.root, self.drawing])
        beside = widgets.HBox([left, right])
        beside.add_class("lk-two")
        self.parts = widgets.VBox([self.which, self.unfit, top, self.fetching, self.warnings, beside])
        self.body.children = (self.none, self.parts)
        self.on_change(self.task, self._choose_task)
        self.on_change(self.which, self._choose)
        self.on_change(self.preset, self._choose_preset)
        self.on_change(self.hub, self._choose_weights)
        self.on_change(self.pinned, lambda pinned: setattr(self.state, "pinned", pinned))
        self.watch(["rows"], self._rows_came)
        self.watch(("model", "task", "train", "steps", "accept_leakage"), self._renew)
        self.watch(("step", "status", "ended"), self.costs.renew)
        self._rows_came()

    def code(self) -> str:
        return self.state.code()

    def close(self) -> None:
        super().close()
        self.cost_previews.close()

    # --- choosing ---------------------------------------------------------------------------------------------

    def _rows_came(self) -> None:
        """Offer the tasks and architectures for these rows, and begin with the first that fits."""
        rows = self.state.rows
        self.none.value = html.note(self.word("no_rows")) if rows is None else ""
        self.parts.layout.display = "none" if rows is None else ""
        if rows is None:
            return
        fit = {name: why for name in tasks if not (why := self._task_unfit(name))}
        with self.filling():
            self.task.options = [(title_of("task", name, self.state.language), name) for name in fit]
        if tasks.name_of(self.state.task) not in fit and fit:
            self.state.task = tasks[next(iter(fit))]()
        self._offer()

    def _task_unfit(self, name: str) -> bool:
        rows, kind = self.state.rows, tasks[name]
        assert rows is not None
        if rows.schema.modality not in kind.modalities:
            return True
        if (
            kind.needs_teacher
            and "target" not in rows.splits.get("train", next(iter(rows.splits.values()))).column_names
        ):
            return True
        if kind.problem_type is not None:
            least = 2 if kind.problem_type is ProblemType.CLASS else 1
            return kind.problem_type != rows.schema.problem_type or len(rows.schema.classes) < least
        if kind.class_condition and rows.schema.problem_type != ProblemType.CLASS:
            return True
        if kind.needs_pairs and not rows.schema.pairs:
            return True
        first = next(iter(rows.splits.values()))
        if kind.needs_transcripts:
            return not has_transcripts(first)
        if kind.needs_tags:
            return not has_tags(first)
        if kind.needs_masks:
            return not rows.schema.mask_classes
        return kind.needs_answers and not has_answers(first)

    def _offer(self) -> None:
        """Offer the architectures that learn the task from these rows; of the others it is said why not."""
        rows, task = self.state.rows, self.state.task
        assert rows is not None
        reasons = {name: _reason(name, rows, task) for name in models}
        kind = rows.schema.modality
        able = (name for name, why in reasons.items() if not why)
        fit = sorted(able, key=lambda name: kind not in models[name].default_for)
        with self.filling():
            self.task.value = tasks.name_of(task)
            self.which.options = [(title_of("model", name, self.state.language), name) for name in fit]
            mine = "" if self.state.model is None else models.name_of(self.state.model)
            self.which.value = mine if mine in fit else next(iter(fit), None)
        others = [
            (title_of("model", name, self.state.language), translate(why, self.state.language))
            for name, why in reasons.items()
            if why
        ]
        title = f"{self.word('do_not_fit')}: {', '.join(name for name, _ in others)}"
        self.unfit.value = html.details(title, html.table([], others)) if others else ""
        if mine not in fit and fit:
            self._choose(fit[0])
        else:
            self._renew()

    def _choose_task(self, name: str) -> None:
        before = self.state.task
        kept = {"max_length": before.max_length} if before.max_length is not None else {}
        task = self.state.task = tasks[name]().replace(**kept)
        self._offer()
        if task.usual_preset and self.state.model is not None and not self.state.model.weights:
            self._choose(models.name_of(self.state.model))

    def _choose(self, name: str) -> None:
        kind, task = models[name], self.state.task
        with self.state.hold_trait_notifications():
            if (
                self.state.model is not None and not self.state.pinned
            ):  # a rate of another architecture does not fit
                self.state.train = self.state.train.replace(
                    optimizer=Optimizer(trainable=task.usual_trainable)
                )
            usual = task.usual_preset in kind.PRESETS
            self._take_preset(kind, task.usual_preset if usual else kind.first_preset)

    def _choose_preset(self, preset: str) -> None:
        self._take_preset(type(self.state.model), preset)

    def _take_preset(self, kind: type[ModelConfig], preset: str) -> None:
        """A preset as the model; its weights are downloaded first where they are not on this machine."""

        def take(model: ModelConfig) -> None:
            self.state.model = model
            self._sensible()

        weights = kind.PRESETS[preset].get("weights", "") if preset else ""
        if weights not in SAMPLES or is_cached(weights):
            take(kind(preset=preset))
        else:
            self._fetch(weights, lambda: kind(preset=preset), take, kind)

    def _fetch(
        self,
        name: str,
        make: Callable[[], ModelConfig],
        take: Callable[[ModelConfig], None],
        kind: type[ModelConfig],
    ) -> None:
        """Download weights in a thread, with a bar and a button to cancel, and take the model that has them. Cancelled,
        the model stays what it was; where it was of another architecture, it becomes a ``kind`` without weights."""
        event = threading.Event()
        self._cancelled = event

        def report(done: int, total: int) -> None:
            self.arrived.max, self.arrived.value = max(total, 1), done

        def work() -> ModelConfig | None:
            try:
                with cancelled_by(event):
                    if name in SAMPLES:
                        folder(name, report)
                    return make()
            except Cancelled:
                return None
            except LabkitError:
                if event.is_set():  # what the hub's client made of it
                    return None
                raise
            finally:
                self.fetching.layout.display = "none"

        def deliver(model: ModelConfig | None) -> None:
            if model is not None:
                take(model)
                return
            if not isinstance(self.state.model, kind):
                take(
                    kind(preset=next(name for name in kind.PRESETS if not kind.PRESETS[name].get("weights")))
                )
            with self.filling():  # as it was before
                self.preset.value = self.state.model.to_dict().get("preset", "")
                self.hub.value = ""
            self.none.value = html.note(
                translate(_("The download was cancelled."), self.state.language), "info"
            )

        self.none.value = ""
        self.arrived.value, self.arrived.description = 0, name
        self.fetching.layout.display = ""
        self.later("weights", work, deliver)

    def _cancel(self) -> None:
        """End the download that is under way; what has arrived is removed."""
        if self._cancelled is not None:
            self._cancelled.set()

    def _choose_weights(self, name: str) -> None:
        """Weights by a name on the hub, at its newest commit where no revision is given, or in a folder."""
        name, kind = name.strip(), type(self.state.model)
        if not name:
            return
        at_main = (
            f"{name}@main" if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).is_dir() else name
        )

        def took(model: ModelConfig) -> None:
            self.state.model = model
            self._sensible()

        self._fetch(at_main, lambda: kind(weights=at_main), took, kind)

    def _reset(self) -> None:
        """Everything by default for these rows."""
        self.state.reset()
        self._offer()

    def _find_rate(self) -> None:
        """The learning rate range test, in a thread."""
        self.rates.value = html.paragraph(self.word("finding_rate"), "quiet")

        def work() -> RateSearchResult:
            rows, experiment = self.state.ready()
            return find_learning_rate(experiment, rows)

        self.later("find_rate", work, self._show_rates)

    def _show_rates(self, found: RateSearchResult) -> None:
        self.found_rate = found.suggestion
        self.rates.value = inline(curves.rate_search(found, self.state.language))
        self.use_rate.description = self.word("use_rate", rate=f"{found.suggestion:g}")
        self.use_rate.layout.display = ""

    def _use_rate(self) -> None:
        self._set_optimizer({"learning_rate": self.found_rate})

    def _sensible(self) -> None:
        """What goes with another model: texts no longer than it reads."""
        model, task = self.state.model, self.state.task
        if 0 < model.max_length < (task.max_length or 0):
            self.state.task = task.replace(max_length=model.max_length)

    # --- forms ------------------------------------------------------------------------------------------------

    def _preview(self) -> None:
        """Show some pictures as training will change them."""
        rows, how = self.state.rows, self.state.task.values().get("augment", "none")
        if rows is None or rows.schema.modality != Modality.IMAGE or how == "none":
            self.augmented.value = ""
            return
        self.later("augmented", lambda: preview_augmentation(rows, how), self._show_augmented)

    def _show_augmented(self, found: AugmentedPictures) -> None:
        language = self.state.language
        title = html.heading(self.word("augmented_title"), 4)
        self.augmented.value = html.joined(
            title, html.scrolled(found.html(language), self.word("augmented_title"))
        )

    def _renew(self) -> None:
        """Forms, drawing and costs as the state has them."""
        model, task, train = self.state.model, self.state.task, self.state.training
        if model is None or self.state.rows is None:
            return
        self._preview()
        self._fill("sizes", model, self.sizes, model.shown, self._set_model)
        self._fill_training()
        locked = (
            [name for name in self.forms["sizes"].fields if name not in model.free] if model.weights else []
        )
        for key, config in (
            ("sizes", model),
            ("task", task),
            ("training", train),
            ("optimizer", train.optimizer),
        ):
            for each in (key, f"{key} more"):
                if each in self.forms:
                    self.forms[each].fill(config, locked if key == "sizes" else ())
        with self.filling():
            self.privacy.fill(train.privacy, self.state.counts().get("train", 0))
            self.hub.layout.display = "" if type(model).FROM_WEIGHTS else "none"
            self.hub.value = model.weights if model.weights and not model.preset else ""
            self.pinned.value = self.state.pinned
            presets = _presets(type(model))
            if [value for _, value in self.preset.options] != presets:
                self.preset.options = [(preset or self.word("own_sizes"), preset) for preset in presets]
                self.later("presets", lambda: preset_sizes(type(model)), self.mark_presets)
            self.preset.value = model.preset
        self.later("costs", self._expected, self._show, _CALM)

    def _fill(
        self,
        key: str,
        config: Config,
        box: widgets.VBox,
        first: tuple[str, ...],
        changed: Callable[[dict[str, Any]], None],
    ) -> None:
        """A form for a config, made anew when it is of another class; what is not ``first`` is folded."""
        form = self.forms.get(key)
        kind = (type(config), self._idle())
        if form is not None and self._made.get(key) == kind:
            return
        self._made[key] = kind
        gone = [
            made for each in (key, f"{key} more") if each in self.forms for made in self.forms[each].callbacks
        ]
        self.callbacks = [callback for callback in self.callbacks if callback not in gone]
        fields = config.__dataclass_fields__  # type: ignore[attr-defined]
        own = [name for name in first if name in fields and name not in self._idle()]
        form = self.forms[key] = Form(self, config, changed, own)
        rest = [name for name in form.fields if name not in (*own, *LEFT_OUT, *self._idle())]
        more = self.forms[f"{key} more"] = Form(self, config, changed, rest)
        folded = widgets.Accordion([more.root], titles=[self.word("more")])
        self.put(box, [self.html(html.heading(self.word(f"form_{key}"))), form.root, folded, self.alert()])

    def _idle(self) -> tuple[str, ...]:
        """Settings of the task that say nothing for these rows."""
        return () if self.state.rows is None else self.state.task.idle(self.state.rows.schema.modality)

    def _fill_training(self) -> None:
        task, train = self.state.task, self.state.training
        if "training" not in self.forms:
            boxes = {key: widgets.VBox() for key in ("training", "optimizer", "task", "privacy")}
            self.training.children = tuple(boxes.values())
            self._boxes = boxes
            self._fill("training", train, boxes["training"], TRAINING, self._set_train)
            self._fill("optimizer", train.optimizer, boxes["optimizer"], OPTIMIZER, self._set_optimizer)
            self.privacy = PrivacyForm(self, lambda target: self._set_train({"privacy": target}))
            self.put(boxes["privacy"], [self.privacy.root, self.alert()])
        self._fill("task", task, self._boxes["task"], task.shown, self._set_task)

    def _set_model(self, changes: dict[str, Any]) -> None:
        self.state.model = self.state.model.replace(**changes)

    def _set_task(self, changes: dict[str, Any]) -> None:
        self.state.task = self.state.task.replace(**changes)

    def _set_train(self, changes: dict[str, Any]) -> None:
        self.state.train = self.state.train.replace(**changes)

    def _set_optimizer(self, changes: dict[str, Any]) -> None:
        train = self.state.train
        self.state.train = train.replace(optimizer=train.optimizer.replace(**changes))

    # --- what it is made of and costs -------------------------------------------------------------------------

    def _expected(self) -> tuple[CostPreview, int]:
        """The costs, and the number of classes of the prepared rows."""
        rows, experiment = self.state.ready()
        return self.cost_previews(rows, experiment, self.costs.prices), max(len(rows.schema.classes), 2)

    def _show(self, expected: tuple[CostPreview, int]) -> None:
        found, classes = expected
        self.problem = None
        self.costs.show(found)
        texts = warnings_of(self.state.model, found)
        notes = [html.note(translate(text, self.state.language), "warn") for text in texts]
        self.warnings.value = html.joined(*notes)
        rows, shapes = self.state.rows, {name: x.shape for name, x in found.plan.steps.shapes.items()}
        into = self.word(f"into_{rows.schema.modality}") if rows is not None else ""
        out = self.word(_OUT.get(self.state.task.problem_type, "out_other"), count=classes)
        title = html.heading(self.word("drawing"))
        picture = drawing.drawn(drawing.blocks(shapes, self.state.model.drawing), self.word, (into, out))
        self.drawing.value = html.joined(title, html.scrolled(picture, self.word("drawing")))
        rates = found.plan.steps.optimizer.rates(found.steps).tolist()
        title = html.heading(self.word("schedule_title"), 4)
        chart = charts.line(rates, self.word("schedule_title"), self.word("step"), self.word("learning_rate"))
        self.schedule.value = html.joined(title, inline(chart))

    def mark_presets(self, sizes: dict[str, int | None]) -> None:
        """Say of each preset how large it is, and of one that is too large that it will not fit."""
        limit, options = device_limit(), []
        weights = pretrained_presets(type(self.state.model))
        for preset, count in sizes.items():
            name = preset or self.word("own_sizes")
            if count is not None:
                name += f" — {self.word('parameters_short', count=units.scaled(count))}"
            if preset in weights:
                name = self.word("preset_pretrained", name=name, about=self._about_weights(preset))
            elif preset and weights:
                name = self.word("preset_scratch", name=name)
            if count is not None and count * EACH > limit:
                name += f" ✗ {self.word('too_large')}"
            options.append((name, preset))
        with self.filling():
            before = self.preset.value
            self.preset.options = options
            self.preset.value = before

    def _about_weights(self, preset: str) -> str:
        """Language, size and whether pretrained weights are on this machine."""
        sample = SAMPLES.get(type(self.state.model).PRESETS[preset]["weights"])
        if sample is None:
            return ""
        language = [self.word(f"language_{sample.language}")] if sample.language else []
        there = self.word("in_cache") if is_cached(sample.name) else units.sized(sample.size)
        return ", ".join([*language, there])


def _reason(name: str, rows: Rows, task: Config) -> str:
    """Why an architecture cannot learn this from these rows; empty where it can."""
    try:
        check_reads(models[name](preset=models[name].first_preset), rows, task)
    except LabkitError as error:
        return error.message
    return ""


def _presets(cls: type[ModelConfig]) -> list[str]:
    """The presets, those with pretrained weights first."""
    weights = pretrained_presets(cls)
    return [*weights, *(name for name in cls.PRESETS if name not in weights), ""]


def preset_sizes(cls: type[ModelConfig]) -> dict[str, int | None]:
    """Preset → parameters, nothing allocated; None where that depends on the data."""
    sizes: dict[str, int | None] = dict.fromkeys(_presets(cls))
    for name, config in cls.presets().items():
        with contextlib.suppress(ConfigError):  # the shape of an example is not known
            sizes[name] = config.count()
    return sizes
