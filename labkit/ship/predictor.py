"""A trained model on disk, ready to answer: the same cleaning, tokens and weights as in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from labkit.base.config import loads
from labkit.base.errors import WeightsError
from labkit.judge.explain import Explainer
from labkit.judge.explanation import Attention, Explanation
from labkit.tasks import tasks
from labkit.tasks.classify import Supervised
from labkit.train.compilation import use_compilation_cache
from labkit.train.experiment import Experiment
from labkit.train.inputs import Texts
from labkit.train.setup import load_model


@dataclass(frozen=True)
class Prediction:
    """The answer for one example: the likeliest class, its probability, and the probability of every class.

    Of several labels at once (:attr:`labels`) ``label`` names those that apply, and ``confidence`` is the probability
    that all of this is right, the labels taken to be independent.
    """

    label: str
    confidence: float
    probability: dict[str, float]
    labels: tuple[str, ...] = ()  # those that apply, of a multi-label model

    def cells(self) -> dict[str, str]:
        """The answer as cells of a table, by their columns."""
        chances = {f"probability {name}": f"{chance:.6f}" for name, chance in self.probability.items()}
        return {"predicted": self.label, "confidence": f"{self.confidence:.6f}", **chances}

    def __str__(self) -> str:
        return f"{self.label}\t{self.confidence:.4f}"


@dataclass(frozen=True)
class Estimate:
    """The answer of a regression for one example: each number under its name."""

    value: dict[str, float]

    def __float__(self) -> float:
        """The number, where there is one."""
        (number,) = self.value.values()
        return number

    def cells(self) -> dict[str, str]:
        """The answer as cells of a table, by their columns."""
        return {f"predicted {name}": f"{number:.7g}" for name, number in self.value.items()}

    def __str__(self) -> str:
        return "\t".join(f"{name} {number:.7g}" for name, number in self.value.items())


class Predictor:
    """A model folder that a run has written or exported.

    Args:
        folder: holds ``labkit.toml``, ``config.json``, ``model.safetensors`` and, for texts, ``tokenizer.json``.

    Raises:
        WeightsError: the folder is not one of labkit's model folders, or its weights do not fit.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / "labkit.toml").exists():
            raise WeightsError(f"{self.folder.name!r} holds no labkit.toml; give a folder made by run.export(folder).")
        use_compilation_cache()
        self.experiment: Experiment = loads(Experiment, (self.folder / "labkit.toml").read_text(encoding="utf-8"))
        if not isinstance(self.experiment.task, Supervised):
            learnt = tasks.name_of(self.experiment.task)
            raise WeightsError(f"{self.folder.name!r} has learnt {learnt!r} and tells no classes; it cannot predict.")
        self.aim = self.experiment.task.aim
        module, task, self.inputs = load_model(self.experiment, self.folder)
        self.classes = task.classes
        self.explainer = Explainer(module, task.classes, self.inputs, self.aim)
        graph, self._state = nnx.split(module)
        self._answer = jax.jit(lambda state, batch: task.probabilities(nnx.merge(graph, state), batch))

    def __repr__(self) -> str:
        return f"<predictor: {', '.join(self.classes)}>"

    def clean(self, text: str) -> str:
        """A new text as the training texts were cleaned."""
        for pipeline in self.experiment.data.cleaning:
            text = pipeline(text)
        return text

    def predict(self, examples: Any, pairs: Sequence[str] | None = None) -> list[Any]:
        """What the model says of new texts (or pairs of texts), pictures [n, height, width (, channels)] or features: a
        :class:`Prediction` each, or an :class:`Estimate`. Features come as an array [n, f], or as rows with the columns
        of the training rows: a pandas or polars frame, a list of dicts, an Arrow table, a DuckDB result."""
        return [self.told(row) for row in self.probabilities(examples, pairs)]

    def told(self, row: np.ndarray) -> Prediction | Estimate:
        """What a row of :meth:`probabilities` says, f32[c]."""
        named = {name: float(value) for name, value in zip(self.classes, row, strict=True)}
        if self.aim == "number":
            return Estimate(named)
        if self.aim == "class":
            best = int(row.argmax())
            return Prediction(self.classes[best], float(row[best]), named)
        given = row >= self.experiment.task.threshold
        labels = tuple(name for name, there in zip(self.classes, given, strict=True) if there)
        return Prediction(", ".join(labels), float(np.where(given, row, 1 - row).prod()), named, labels)

    def explain(self, example: Any, pair: str | None = None, **settings: Any) -> Explanation:
        """What speaks for and against a class in a new example; see :meth:`labkit.judge.explain.Explainer.explain`."""
        return self.explainer.explain(*self._cleaned(example, pair), **settings)

    def attention(self, text: str, pair: str | None = None) -> Attention:
        """The attention over the tokens of a new text; see :meth:`labkit.judge.explain.Explainer.attention`."""
        return self.explainer.attention(*self._cleaned(text, pair))

    def _cleaned(self, *texts: Any) -> tuple[Any, ...]:
        made = [self.inputs.examples([one])[0] if isinstance(one, dict) else one for one in texts]
        return tuple(self.clean(one) if isinstance(one, str) else one for one in made)

    def probabilities(self, examples: Any, pairs: Sequence[str] | None = None, *, clean: bool = True) -> np.ndarray:
        """Probability of every class, or the numbers of a regression, f32[n, c]; ``clean=False`` for texts that were
        cleaned before.

        Raises:
            TypeError: one string where a list of strings is needed.
            DataError: pictures or features of another shape than those of the training.
        """
        if isinstance(examples, str):
            raise TypeError(f"predict takes a list of texts: predict([{examples[:40]!r}]).")
        if self.inputs.kind == "features" and not (isinstance(examples, list) and not examples):
            examples = self.inputs.examples(examples)  # the rows of a query have no length before they are read
        result = np.zeros((len(examples), len(self.classes)), np.float32)
        if not len(examples):
            return result
        if clean and isinstance(self.inputs, Texts):
            examples = [self.clean(text) for text in examples]
            pairs = None if pairs is None else [self.clean(text) for text in pairs]
        for batch in self.inputs.to_predict(examples, pairs):
            answer = jax.device_get(self._answer(self._state, batch))
            real = batch["index"] >= 0
            result[batch["index"][real]] = answer[real]
        return result

    def judge(self, dataset: Any) -> np.ndarray:
        """Probability of every class, f32[n, c], for a split of :class:`labkit.data.rows.Rows`."""
        if not isinstance(self.inputs, Texts):
            return self.probabilities(self.inputs.raw(dataset).inputs)
        pairs = dataset["text_pair"] if "text_pair" in dataset.column_names else None
        return self.probabilities(dataset["text"], pairs, clean=False)
