"""Cached cost estimates for interactive use."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labkit.core.cache import fingerprint
from labkit.data.rows import Rows
from labkit.data.text.tokenizer import Tokenizer
from labkit.profile.cost import Estimate, estimate
from labkit.profile.hardware import ACCELERATORS, calibrate
from labkit.train.context import TrainContext, context_of, shapes_of
from labkit.train.experiment import Experiment, check_reads
from labkit.train.processors import processor_of

#: Cost of a forward pass, in training steps; how much longer a run may take than its steps alone.
FORWARD, SPREAD = 1 / 3, 1.4
#: Seconds of compilation where no earlier run tells them.
COMPILATION = 15.0


@dataclass(frozen=True)
class CostPreview:
    """A run as it would be.

    Attributes:
        estimate: of a step.
        steps: of the whole run.
        plan: its data read and its steps traced; no weight exists.
        examples: those of the training rows.
        tokenizer: that of texts; None for other data.
    """

    estimate: Estimate
    steps: int
    plan: TrainContext
    examples: Any
    tokenizer: Tokenizer | None

    def seconds(self, accelerator: str = "") -> float | None:
        """All steps of the run on a named accelerator, or here; evaluations and compilation come on top of
        them."""
        if not accelerator:
            return None if self.estimate.step_seconds is None else self.estimate.step_seconds * self.steps
        return next(one.seconds for one in self.estimate.accelerators if one.name == accelerator) * self.steps

    def whole_run(self, compile_seconds: float) -> tuple[float, float] | None:
        """Seconds of the whole run here, with its evaluations, at least and at most; the latter with
        ``compile_seconds`` of compilation. None where a step was not measured."""
        each = self.estimate.step_seconds
        if each is None:
            return None
        plan = self.plan
        every = plan.experiment.train.evaluate_every or plan.batches.steps_per_epoch
        evaluations = math.ceil(self.steps / max(every, 1))
        least = each * (self.steps + FORWARD * evaluations * plan.validation.steps_per_epoch)
        return least, SPREAD * least + compile_seconds


class CostPreviews:
    """Rows and settings to what a run would cost. One thread at a time may ask."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="labkit-")
        self._read: tuple[Any, Any, dict[str, Any]] | None = None

    def close(self) -> None:
        """Take away what was kept on disk; no estimate is possible then."""
        self._folder.cleanup()

    def __call__(
        self, rows: Rows, experiment: Experiment, prices: dict[str, float] | None = None
    ) -> CostPreview:
        """Ask what ``experiment`` would cost with these ``rows``, which are split.

        Args:
            prices: accelerator → price of an hour.

        Raises:
            DataError, ConfigError, WeightsError: it could not run; as the start of a run would raise.
        """
        check_reads(experiment.model, rows, experiment.task)
        processor, examples = self._inputs(rows, experiment)
        plan = context_of(experiment, rows, processor, examples)
        named = [replace(one, dollars=(prices or {}).get(one.name)) for one in ACCELERATORS.values()]
        each = plan.batches.examples_per_step
        found = estimate(plan.steps, shapes_of(plan.batches, plan.steps), each, calibrate(), named)
        return CostPreview(found, plan.steps.total, plan, examples["train"], processor.tokenizer)

    def _inputs(self, rows: Rows, experiment: Experiment) -> tuple[Any, dict[str, Any]]:
        """What reads the rows, and its examples: those of before where nothing changed that they depend on."""
        task, model = experiment.task, experiment.model
        reads = {name: value for name, value in task.to_dict().items() if name in task.reading}
        key = (id(rows), type(task), fingerprint(reads), model.weights, model.max_length,
               experiment.train.seed)  # fmt: skip
        if self._read is None or self._read[0] != key:
            folder = Path(self._folder.name) / fingerprint([str(part) for part in key])[:16]
            processor = processor_of(experiment, folder, rows)
            examples = {name: processor.encode(rows[name]) for name in ("train", "validation")}
            self._read = (key, processor, examples)
        return self._read[1], self._read[2]
