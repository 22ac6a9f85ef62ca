"""A trained model on disk, ready to answer: the same cleaning, tokens and weights as in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from labkit.base.config import loads
from labkit.base.errors import WeightsError
from labkit.data.batch import Batches
from labkit.data.text import Tokenizer
from labkit.tasks.classify import Classification
from labkit.train.compilation import use_compilation_cache
from labkit.train.experiment import Experiment
from labkit.train.setup import load_model

#: Texts in one compiled call.
BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """The answer for one text: the likeliest class, its probability, and the probability of every class."""

    label: str
    confidence: float
    probability: dict[str, float]


class Predictor:
    """A model folder that a run has written or exported.

    Args:
        folder: holds ``labkit.toml``, ``config.json``, ``model.safetensors`` and ``tokenizer.json``.

    Raises:
        WeightsError: the folder is not one of labkit's model folders, or its weights do not fit.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / "labkit.toml").exists():
            raise WeightsError(f"{self.folder.name!r} holds no labkit.toml; give a folder made by run.export(folder).")
        use_compilation_cache()
        self.experiment: Experiment = loads(Experiment, (self.folder / "labkit.toml").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.load(self.folder)
        module, self.classes = load_model(self.experiment, self.tokenizer, self.folder)
        task = Classification.of(self.experiment.task, self.classes)
        graph, self._state = nnx.split(module)
        self._answer = jax.jit(lambda state, batch: task.probabilities(nnx.merge(graph, state), batch))

    def __repr__(self) -> str:
        return f"<predictor: {', '.join(self.classes)}>"

    def clean(self, text: str) -> str:
        """A new text as the training texts were cleaned."""
        for pipeline in self.experiment.data.cleaning:
            text = pipeline(text)
        return text

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Prediction]:
        """Classify texts (or pairs of texts)."""
        found = []
        for row in self.probabilities(texts, pairs):
            best = int(row.argmax())
            chances = {name: float(chance) for name, chance in zip(self.classes, row, strict=True)}
            found.append(Prediction(self.classes[best], float(row[best]), chances))
        return found

    def probabilities(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, clean: bool = True
    ) -> np.ndarray:
        """Probability of every class, f32[n, c]; ``clean=False`` for texts that were cleaned before.

        Raises:
            TypeError: one string where a list of strings is needed.
        """
        if isinstance(texts, str):
            raise TypeError(f"predict takes a list of texts: predict([{texts[:40]!r}]).")
        result = np.zeros((len(texts), len(self.classes)), np.float32)
        if not len(texts):
            return result
        if clean:
            texts = [self.clean(text) for text in texts]
            pairs = None if pairs is None else [self.clean(text) for text in pairs]
        longest = self.experiment.task.max_length
        tokens = self.tokenizer.encode(texts, pairs, longest)
        buckets = (*(length for length in (16, 32, 64, 128, 256, 512) if length < longest), longest)
        for batch in Batches(tokens, BATCH, buckets, shuffle=False, labelled_only=False):
            answer = jax.device_get(self._answer(self._state, batch))
            real = batch["index"] >= 0
            result[batch["index"][real]] = answer[real]
        return result
