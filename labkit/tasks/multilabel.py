"""Multi-label classification: independent binary decisions per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.config import option
from labkit.core.errors import DataError
from labkit.core.shapes import Array, Float, Int
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.tasks.base import Batch, MetricState, ProblemType
from labkit.tasks.classify import MULTI_LABEL, Classification, Classifier, Classify, changed
from labkit.tasks.metrics import SINGLE, Numbers, mean_loss, rates, ratio


@dataclass(frozen=True)
class MultiLabel(Classify):
    """Settings of a multi-label task."""

    problem_type: ClassVar[ProblemType] = ProblemType.LABELS
    rate_factor: ClassVar[float] = 2.0

    threshold: float = option(
        0.5, _("Decision threshold: a label is predicted from this probability on."), low=0.0, high=1.0
    )

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> Tagging:
        """The head for these classes. Raises :class:`DataError` where no class has training rows with it and
        without it."""
        assert target is not None
        known = target[labels >= 0]
        with_it = known.sum(0)
        if not ((with_it > 0) & (with_it < len(known))).any():
            found = {name: int(count) for name, count in zip(classes, with_it, strict=True)}
            raise DataError(
                _("no class distinguishes the {n_known} training rows; rows with each class: {found}."),
                n_known=len(known),
                found=found,
            )
        weights = np.ones(len(classes), np.float32)
        if self.class_weights == "balanced":
            weights = ((len(known) - with_it) / np.maximum(with_it, 1)).clip(1e-2, 1e2).astype(np.float32)
        return Tagging(self, weights, classes=classes)

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Tagging:
        """The head of a model that is trained already."""
        return Tagging.of(self, classes)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TagCounts(MetricState):
    """Sums over examples that have several labels."""

    loss_sum: Float[Array, ""]  # sum of weight * loss
    weight: Float[Array, ""]  # sum of weights
    hit: Int[Array, " c"]  # examples that have a class and were given it
    support: Int[Array, " c"]  # that have it
    predicted: Int[Array, " c"]  # that were given it
    exact: Int[Array, ""]  # examples with all classes right
    examples: Int[Array, ""]

    @classmethod
    def empty(cls, classes: int) -> Self:
        """The sums over no examples."""
        each, one = jnp.zeros(classes, jnp.int32), jnp.zeros((), jnp.int32)
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32), each, each, each, one, one)

    def compute(self) -> dict[str, float]:
        """``loss``, :func:`tag_scores`, and F1 of the first classes as ``f1/0``, ``f1/1`` …"""
        host = jax.device_get(self)
        each = rates(host.hit, host.support, host.predicted)["f1"][:SINGLE]
        found = tag_scores(host.hit, host.support, host.predicted, host.exact, host.examples)
        return {
            "loss": mean_loss(host),
            **found,
            **{f"f1/{number}": float(value) for number, value in enumerate(each)},
        }


@dataclass(frozen=True, eq=False)
class Tagging(Classification):
    """A linear layer on the pooled vector, trained to predict each label by itself. ``class_weights`` are
    those of the examples that have a class."""

    config: MultiLabel

    def get_config(self) -> dict[str, Any]:
        """The names of the classes, and the problem type."""
        return {**super().get_config(), "problem_type": MULTI_LABEL}

    def empty(self) -> MetricState:
        """The metric sums over no examples."""
        return TagCounts.empty(len(self.classes))

    def loss(
        self, module: Classifier, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], MetricState]:
        """Binary cross-entropy of a batch, the mean over the classes of each example; see
        :class:`Classification`.

        Smoothed labels go from 0 and 1 to s/2 and 1 - s/2.
        """
        weight = batch["weight"].reshape(-1)
        truth = batch["target"].reshape(-1, len(self.classes))
        batch, key, mix = changed(self.config, batch, key)
        aim = truth if mix is None else mix.share * truth + (1 - mix.share) * truth[mix.partner]
        if key is not None and (smooth := self.config.label_smoothing):
            aim = (1 - smooth) * aim + smooth / 2
        logits = module(batch, key=key).reshape(-1, len(self.classes))
        positive = jnp.asarray(self.class_weights) * aim * jax.nn.softplus(-logits)
        losses = jnp.mean(positive + (1 - aim) * jax.nn.softplus(logits), axis=-1)
        given = jax.nn.sigmoid(logits) >= self.config.threshold
        return jnp.sum(losses * weight), jnp.sum(weight), count(given, truth > 0.5, weight, losses)

    def predict(self, module: Classifier, batch: Batch) -> Float[Array, "b c"] | Float[Array, "b s c"]:
        """Probability of every class by itself."""
        return jax.nn.sigmoid(module(batch))


def count(given: Array, truth: Array, weight: Float[Array, " b"], losses: Float[Array, " b"]) -> TagCounts:
    """The sums over one batch; ``given`` and ``truth`` are bool[b, c]. An example of weight 0 adds nothing."""
    real = weight > 0
    given, truth = given & real[:, None], truth & real[:, None]
    each = lambda found: jnp.sum(found, axis=0, dtype=jnp.int32)  # noqa: E731
    exact = jnp.sum(real & (given == truth).all(-1), dtype=jnp.int32)
    loss = jnp.sum(jnp.where(real, losses * weight, 0))
    return TagCounts(
        loss,
        jnp.sum(weight),
        each(given & truth),
        each(truth),
        each(given),
        exact,
        jnp.sum(real, dtype=jnp.int32),
    )


def tag_scores(
    hit: Numbers,
    support: Numbers,
    predicted: Numbers,
    exact: Numbers,
    examples: Numbers,
) -> dict[str, Any]:
    """Scores from counts of every class [..., c] and of examples [...], as scikit-learn has them.

    ``accuracy``: examples with all classes right; ``hamming``: share of wrong decisions; ``precision``,
    ``recall`` and ``f1`` as means over all classes, and ``_micro`` averages. NaN where nothing was counted.
    """
    hit, support, predicted = (np.asarray(part, np.int64) for part in (hit, support, predicted))
    examples = np.asarray(examples, np.int64)
    wrong = (support + predicted - 2 * hit).sum(-1)
    found = {
        "accuracy": ratio(exact, examples, np.nan),
        "hamming": ratio(wrong, examples * hit.shape[-1], np.nan),
    }
    pooled = rates(*(part.sum(-1, keepdims=True) for part in (hit, support, predicted)))
    for name, each in rates(hit, support, predicted).items():
        found[name] = np.where(examples > 0, each.mean(-1), np.nan)
        found[f"{name}_micro"] = np.where(examples > 0, pooled[name][..., 0], np.nan)
    return {name: float(value) if np.ndim(value) == 0 else value for name, value in found.items()}
