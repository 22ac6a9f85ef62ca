"""Distillation: a classifier that learns from the probabilities of another (Hinton et al., arXiv 1503.02531)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.config import option
from labkit.core.errors import DataError
from labkit.core.shapes import Array, Float
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models.base import Modality
from labkit.tasks import metrics
from labkit.tasks.base import Batch
from labkit.tasks.classify import Classification, Classifier, Classify, cross_entropy

#: Probabilities of the teacher are no smaller.
_LEAST = 1e-7


@dataclass(frozen=True)
class Distill(Classify):
    """Settings of a distillation. The training rows have the probabilities of the teacher in a column ``target``,
    which :func:`labkit.distill` makes; validation and test rows have labels."""

    modalities: ClassVar[tuple[Modality, ...]] = (Modality.TEXT,)
    shown: ClassVar[tuple[str, ...]] = ("max_length", "temperature", "label_share")
    needs_teacher: ClassVar[bool] = True

    temperature: float = option(
        2.0,
        _("Temperature of both models in the loss. Above 1, the less likely classes count more."),
        low=0.1,
        high=100.0,
    )
    label_share: float = option(
        0.0, _("Share of the usual loss, by the labels, in the training loss."), low=0.0, high=1.0
    )

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> Distillation:
        """The head for these classes. Raises :class:`DataError` where the rows have no probabilities."""
        if target is None or target.shape[1] != len(classes):
            raise DataError(
                _(
                    "these rows have no probabilities of a teacher. Use lk.distill(run, rows, model), which makes them."
                )
            )
        return Distillation(self, np.ones(len(classes), np.float32), classes=classes)

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Distillation:
        """The head of a model that is trained already."""
        return Distillation.of(self, classes)


@dataclass(frozen=True, eq=False)
class Distillation(Classification):
    """A linear layer on the pooled vector, trained towards the probabilities of a teacher."""

    config: Distill

    def loss(
        self, module: Classifier, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], metrics.MetricState]:
        """While training, the cross-entropy to the teacher's probabilities, both at the temperature and times its
        square, mixed with that of the labels by ``label_share``; otherwise that of the labels alone."""
        if key is None:
            return super().loss(module, batch, key)
        label, weight = batch["label"].reshape(-1), batch["weight"].reshape(-1)
        logits = module(batch, key=key).reshape(-1, len(self.classes))
        teacher = jnp.log(jnp.maximum(batch["target"].reshape(-1, len(self.classes)), _LEAST))
        heat, share = self.config.temperature, self.config.label_share
        aim, own = jax.nn.softmax(teacher / heat), jax.nn.log_softmax(logits / heat)
        losses = (1 - share) * heat**2 * -jnp.sum(aim * own, -1)
        if share:
            losses += share * cross_entropy(logits, label)
        return jnp.sum(losses * weight), jnp.sum(weight), metrics.count(logits, label, weight, losses)

    def batch_target(self, target: np.ndarray, label: np.ndarray) -> Any:
        """The probabilities as the batches hold them, f32[n, c]."""
        return np.asarray(target, np.float32)
