"""Cost estimate of a run: parameters, FLOPs, memory, time here and on other accelerators, price."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.core import html, units
from labkit.i18n import _, translate
from labkit.models import models
from labkit.profile.hardware import ACCELERATORS
from labkit.train.cost_preview import COMPILATION, CostPreview

if TYPE_CHECKING:
    from labkit.app.panel import Panel

#: Settings of the training and the optimizer that the time of a step depends on.
TIMED_BY = ("batch_size", "packing", "buckets", "accumulate", "devices", "model_parallel", "sharded", "privacy",
            "algorithm", "trainable", "lora_rank", "freeze_layers")  # fmt: skip


def _timed_by(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of an experiment that the time of a step depends on."""
    train = {name: value for name, value in settings.get("train", {}).items() if name in TIMED_BY}
    optimizer = settings.get("train", {}).get("optimizer", {})
    train |= {name: value for name, value in optimizer.items() if name in TIMED_BY}
    return {"model": settings.get("model"), "task": settings.get("task"), **train}


class Costs:
    """A part of the step Model. ``root`` is its widget, ``prices`` user input: accelerator → price an hour."""

    def __init__(self, panel: Panel):
        self.panel, self.prices, self.latest = panel, dict[str, float](), None
        self.facts, self.table = panel.html(), panel.html()
        self.where = widgets.Dropdown(options=list(ACCELERATORS), description=panel.word("accelerator"))
        self.price = widgets.BoundedFloatText(
            0, min=0, max=1e6, step=0.1, description=panel.word("price"), tooltip=panel.word("price_help")
        )  # fmt: skip
        bar = widgets.HBox([self.where, self.price])
        bar.add_class("lk-form")
        elsewhere = widgets.Accordion([widgets.VBox([bar, self.table])], titles=[panel.word("elsewhere")])
        self.root = widgets.VBox([panel.html(html.heading(panel.word("costs"))), self.facts, elsewhere])
        panel.on_change(self.where, self._which)
        panel.on_change(self.price, self._priced)

    def show(self, found: CostPreview) -> None:
        """Show what was found; the time of a step is that of a run with these settings, once there is one."""
        self.latest = found
        measured = self._measured(found)
        if measured is not None:
            found = replace(found, estimate=replace(found.estimate, step_seconds=measured[1]))
        word, one, plan = self.panel.word, found.estimate, found.plan
        fits = word("fits") if one.fits else word("does_not_fit")
        seconds = found.whole_run(self._compilation())
        facts = [
            (word("parameters"), units.scaled(one.parameters)),
            (word("trained"), f"{one.trainable / max(one.parameters, 1):.0%}"),
            (word("flops_example"), units.scaled(one.flops_per_example)),
            (word("memory_of", limit=units.sized(one.limit_bytes)), units.sized(one.memory_bytes)),
            (word("step_time"), "–" if one.step_seconds is None else units.timed(one.step_seconds)),
            (word("steps_in_all"), f"{found.steps:,}"),
            (word("run_time"), "–" if seconds is None else " – ".join(map(units.lasting, seconds))),
        ]
        verdict = html.note(word("memory_verdict", verdict=fits), "good" if one.fits else "bad")
        padding = html.paragraph(
            word("layout", shapes=", ".join("×".join(map(str, shape)) for shape in plan.batches.shapes),
                 share=f"{plan.batches.padding_share:.0%}"), "quiet",
        )  # fmt: skip
        told = []
        if measured is not None:
            words = _("Step time and run time as measured by run {run!r}.", run=measured[0])
            told = [html.paragraph(translate(words, self.panel.state.language), "quiet")]
        self.facts.value = html.joined(html.cards(facts), verdict, padding, *told)
        self._tabulate()

    def renew(self) -> None:
        """Show the same costs again, with what runs have measured meanwhile."""
        if self.latest is not None:
            self.show(self.latest)

    def _measured(self, found: CostPreview) -> tuple[str, float] | None:
        """The newest run with the same model, task and batches, and its seconds for a step; None without one."""
        now = found.plan.experiment
        wanted = _timed_by(now.to_dict())
        for run in self.panel.state.store.runs():
            speed = run.summary.get("examples_per_second")
            if speed and _timed_by(run.settings()) == wanted:
                return run.name, found.plan.batches.examples_per_step / float(speed)
        return None

    def _compilation(self) -> float:
        """Seconds that the newest run of this architecture compiled; a usual value without one."""
        model = self.panel.state.model
        for run in self.panel.state.store.runs():
            if run.compile_seconds and run.settings("model").get("name") == models.name_of(model):
                return run.compile_seconds
        return COMPILATION

    def _tabulate(self) -> None:
        if (found := self.latest) is None:
            return
        word, lines = self.panel.word, []
        for one in found.estimate.accelerators:
            seconds = one.seconds * found.steps
            price = self.prices.get(one.name)
            cost = "" if price is None else f"{price * seconds / 3600:,.2f}"
            fits = html.chip(word("fits"), "good") if one.fits else html.chip(word("does_not_fit"), "bad")
            lines.append((one.name, fits, units.timed(one.seconds), units.lasting(seconds), cost))
        head = [word(key) for key in ("accelerator", "memory", "step_time", "run_time", "cost")]
        table = html.scrolled(html.table(head, lines, numeric=(2, 3, 4)), word("costs"))
        self.table.value = html.joined(table, html.paragraph(word("assumed"), "quiet"))

    def _which(self, name: str) -> None:
        with self.panel.filling():
            self.price.value = self.prices.get(name, 0)

    def _priced(self, price: float) -> None:
        if price:
            self.prices[self.where.value] = price
        else:
            self.prices.pop(self.where.value, None)
        self._tabulate()
