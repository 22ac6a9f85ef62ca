"""The plan of a differentially private run: its secret, its noise, and its batches."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.cache import write_atomic
from labkit.core.errors import RunError
from labkit.core.shapes import PRNGKeyArray
from labkit.data.batching.arrays import ArrayBatches
from labkit.data.batching.base import Batches
from labkit.data.batching.buckets import BucketBatches
from labkit.data.batching.poisson import PoissonBatches
from labkit.i18n import _
from labkit.models.base import Modality
from labkit.tasks.base import ProblemType, Task
from labkit.train.clipping import NoisySum
from labkit.train.privacy import Privacy, PrivacyLog, Sampling, check_delta, noise_for, places, spent

#: In the folder of a run: the random words that decide its batches and its noise. They are not exported.
FILE = "privacy.json"
#: Words of 32 bits: four for the batches, up to four for the key of the noise.
WORDS = 8


@dataclass(frozen=True)
class PrivatePlan:
    """How a run meets its target.

    Attributes:
        privacy: the target.
        sampling: how batches are drawn.
        noise: noise multiplier.
        words: the secret.
    """

    privacy: Privacy
    sampling: Sampling
    noise: float
    words: tuple[int, ...]

    @classmethod
    def of(
        cls, privacy: Privacy, source: Batches, epochs: int, parts: int, folder: Path | None
    ) -> PrivatePlan:
        """The plan for the rows of ``source``.

        Args:
            privacy: the target.
            source: batches of the training rows.
            epochs: passes over them.
            parts: what the places of a batch must be divisible into.
            folder: of the run; its plan stays the same when it is resumed. None: for cost estimates, without
                the search for the noise.

        Raises:
            ConfigError: the target cannot be met.
            RunError: the file of the run is damaged.
        """
        rows, expected = source.examples, source.batch_size
        check_delta(privacy, rows)
        steps = epochs * -(-rows // expected)
        sampling = Sampling(rows, expected, places(rows, expected, steps, privacy.delta, parts), steps)
        if folder is None:
            return cls(privacy, sampling, 1.0, (0,) * WORDS)
        if (folder / FILE).exists():
            return cls(privacy, sampling, *_read(folder / FILE))
        noise, words = noise_for(sampling, privacy.epsilon, privacy.delta), _words(privacy.noise_seed)
        write_atomic(folder / FILE, json.dumps({"noise": noise, "words": words}) + "\n")
        os.chmod(folder / FILE, 0o600)
        return cls(privacy, sampling, noise, words)

    def batches(self, source: Batches) -> PoissonBatches:
        """Poisson-sampled batches of the rows of ``source``."""
        assert isinstance(source, ArrayBatches | BucketBatches), "check_private refuses the others"
        return PoissonBatches(source, self.words[:4], self.sampling.largest)

    def mechanism(self) -> NoisySum:
        """How gradients are clipped and noised."""
        return NoisySum(self.privacy.clip, self.noise, self.sampling.rate * self.sampling.rows)

    def key(self) -> PRNGKeyArray:
        """The key of the noise and of all other chance of the steps."""
        size = jax.random.key_data(jax.random.key(0)).size
        return jax.random.wrap_key_data(jnp.array(self.words[4 : 4 + size], jnp.uint32))

    def log(self) -> PrivacyLog:
        """Records epsilon while the run is trained."""
        return PrivacyLog(self.sampling, self.noise, self.privacy.delta)

    def summary(self, step: int = 0) -> dict[str, Any]:
        """What the store is told of the plan, and of the epsilon that the first ``step`` steps have spent."""
        made = min(step, self.sampling.steps)
        so_far = {"spent": spent(self.sampling, self.noise, made, self.privacy.delta)} if made else {}
        return {
            "epsilon": self.privacy.epsilon, "delta": self.privacy.delta, "clip": self.privacy.clip, "unit": "row",
            "noise": round(self.noise, 6), "rows": self.sampling.rows, "expected": self.sampling.expected,
            "largest": self.sampling.largest, "steps": self.sampling.steps, **so_far,
        }  # fmt: skip

    def notes(self, task: Task, modality: str, own_tokenizer: bool) -> list[str]:
        """What epsilon does not cover, of such a task on rows of a modality."""
        notes: list[str] = [
            _("Epsilon covers the trained parameters, of the training rows. Training loss and metrics, all scores on "
              "validation rows, the names of classes and this run's folder are not covered: share the exported model "
              "only."),
            _("The model is that of the last step: choosing the best evaluation would not be covered by epsilon."),
        ]  # fmt: skip
        if modality == Modality.FEATURES:
            notes.append(
                _("Mean, scale and categories of the features are read from the training rows without noise; they are "
                  "part of the exported model and not covered by epsilon.")
            )  # fmt: skip
        if task.problem_type is ProblemType.NUMBER:
            notes.append(
                _("Mean and scale of the target are read from the training rows without noise; they are part of the "
                  "exported model and not covered by epsilon.")
            )  # fmt: skip
        if own_tokenizer:
            notes.append(
                _("The vocabulary is learned from the training rows without noise; it is part of the exported model "
                  "and not covered by epsilon. Choose a model with pretrained weights, which brings its own.")
            )  # fmt: skip
        if self.privacy.noise_seed is not None:
            notes.append(
                _("noise_seed is set: whoever knows it can remove the noise, so that epsilon does not hold.")
            )
        return notes


def _words(seed: int | None) -> tuple[int, ...]:
    """Random words of the system; of a seed where one is given."""
    if seed is None:
        return tuple(secrets.randbits(32) for each in range(WORDS))
    return tuple(map(int, np.random.SeedSequence(seed).generate_state(WORDS)))


def _read(path: Path) -> tuple[float, tuple[int, ...]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        words = tuple(map(int, known["words"]))
        if len(words) != WORDS:
            raise ValueError(f"{len(words)} words")
        return float(known["noise"]), words
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            _("{file} of this run is damaged: {error}. Restore it, or start a new run."),
            file=path.name, error=repr(error),
        ) from None  # fmt: skip
