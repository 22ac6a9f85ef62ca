"""Classification: one of several classes per example (or pair of texts)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import DataError
from labkit.core.shapes import Array, Float, Int
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models import foreign, weights
from labkit.models.base import Modality, ModelConfig
from labkit.models.layers import Segments, dropout
from labkit.profile.activations import Activations, linear_head
from labkit.tasks import metrics
from labkit.tasks.augment import KINDS, augment, mixup
from labkit.tasks.base import (
    OF_TEXTS,
    Batch,
    Head,
    ProblemType,
    Task,
    tokenizer_option,
    vectors,
    vocabulary_option,
)
from labkit.tasks.metrics import SINGLE

#: ``problem_type`` in the config.json of a classifier whose labels are independent.
MULTI_LABEL = "multi_label_classification"
#: Names of classes in a message.
SHOWN = 10


@dataclass(frozen=True)
class Supervised(Task):
    """Settings of every task that predicts the label of a row from one vector of it."""

    modalities: ClassVar[tuple[Modality, ...]] = (
        Modality.TEXT,
        Modality.IMAGE,
        Modality.FEATURES,
        Modality.AUDIO,
    )
    shown: ClassVar[tuple[str, ...]] = ("max_length", "augment")
    applies: ClassVar[Mapping[str, tuple[Modality, ...]]] = {
        **OF_TEXTS,
        "augment": (Modality.IMAGE, Modality.AUDIO),
        "mixup": (Modality.IMAGE, Modality.AUDIO, Modality.FEATURES),
    }

    max_length: int | None = option(
        None,
        _(
            "Maximum text length in tokens; longer texts are truncated and counted. Default: chosen from the data."
        ),
        low=8,
        high=1_000_000,
    )
    augment: str = option("none", _("Random image augmentation during training."), choices=KINDS)
    mixup: float = option(
        0.0,
        _("Mixup: interpolate pairs of examples with a weight drawn from Beta(mixup, mixup). 0: off."),
        low=0.0,
    )
    head_dropout: float = option(0.1, _("Dropout rate before the output layer."), low=0.0, high=0.9)
    vocabulary: int = vocabulary_option()
    tokenizer: str = tokenizer_option()


@dataclass(frozen=True)
class Classify(Supervised):
    """Settings of a classification task."""

    problem_type: ClassVar[ProblemType] = ProblemType.CLASS
    shown: ClassVar[tuple[str, ...]] = ("max_length", "class_weights", "augment")

    class_weights: str = option(
        "none",
        _("balanced: weight the loss inversely to class frequency, so that each class counts equally."),
        choices=("none", "balanced"),
    )
    label_smoothing: float = option(
        0.0, _("Label smoothing: probability mass spread uniformly over the classes."), low=0.0, high=0.9
    )

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> Classification:
        """The head for these classes. Raises :class:`DataError` where fewer than two have training rows."""
        counts = np.bincount(labels[labels >= 0], minlength=len(classes))
        if np.count_nonzero(counts) < 2:
            found = {name: int(count) for name, count in zip(classes, counts, strict=True)}
            raise DataError(
                _("classification needs training rows of at least two classes; the rows have {found}."),
                found=found,
            )
        weights = np.ones(len(classes), np.float32)
        if self.class_weights == "balanced":
            weights = (counts.sum() / np.maximum(counts, 1) / np.count_nonzero(counts)).astype(np.float32)
        return Classification(self, weights, classes=classes)

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Classification:
        """The head of a model that is trained already."""
        return Classification.of(self, classes)


class Classifier(nnx.Module):
    """A backbone that makes one vector of an example, and a linear layer on top."""

    def __init__(
        self,
        backbone: nnx.Module,
        width: int,
        classes: int,
        dropout: float,
        use_bias: bool = True,
        *,
        rngs: nnx.Rngs,
    ):
        self.backbone = backbone
        initial = nnx.initializers.normal(0.02)
        self.head = nnx.Linear(width, classes, use_bias=use_bias, kernel_init=initial, rngs=rngs)
        self.dropout = dropout

    def __call__(
        self, batch: Batch, *, key: jax.Array | None = None
    ) -> Float[Array, "b c"] | Float[Array, "b s c"]:
        """Logits of a batch of :class:`~labkit.data.batching.buckets.Batches`, ``PackedBatches`` or
        ``ArrayBatches``.

        ``key`` switches dropout on. For packed rows the logits are [b, s, c], of no meaning in empty places.
        """
        backbone_key, head_key = (None, None) if key is None else jax.random.split(key)
        if "vectors" in batch:
            pooled = batch["vectors"]
        elif "inputs" in batch:
            pooled = self.backbone(batch["inputs"], key=backbone_key, real=batch["weight"] > 0).pooled
        elif "segment" in batch:
            segments = Segments(batch["segment"], batch["position"], batch["start"])
            mask = batch["segment"] > 0
            pooled = vectors(self.backbone, batch["ids"], mask, batch["types"], segments, key=backbone_key)
        else:
            pooled = vectors(self.backbone, batch["ids"], batch["mask"], batch["types"], key=backbone_key)
        return self.head(dropout(pooled, self.dropout, head_key)).astype(jnp.float32)


@dataclass(frozen=True, eq=False)
class PooledHead(Head):
    """A linear layer on the pooled vector of an example."""

    config: Supervised

    @property
    def unused(self) -> tuple[str, ...]:
        """Prefixes of parameters that nothing reads; they are not stored."""
        return ("backbone/output/",)

    @property
    def reads_vectors(self) -> bool:
        """Whether the head can be trained on the vectors of examples: where training changes none at random."""
        return self.config.augment == "none" and not self.config.mixup

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Classifier:
        """The model of config ``model`` with a new head for these classes."""
        outputs = len(self.classes)
        how = (model.output_width, outputs, self.config.head_dropout, model.head_bias(outputs))
        return Classifier(model.build(rngs), *how, rngs=rngs)

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none, and where the batch
        is vectors that the model has made before."""
        found, examples = (
            None if "vectors" in batch else model.vector_activations(batch),
            batch["weight"].size,
        )
        if found is None:
            return None
        return found + linear_head(
            examples, model.output_width, len(self.classes), self.config.head_dropout > 0
        )

    def save(
        self, params: dict[str, np.ndarray], model: ModelConfig, folder: Path, specials: weights.Specials
    ) -> None:
        """Write the model of config ``model`` in the layout of its family, so that other programs compute the
        same."""
        model.save_classifier(
            weights.backbone(params), folder, params["head/kernel"], params.get("head/bias"),
            specials=specials, max_length=self.config.max_length, **self.get_config(),
        )  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """The names of the classes."""
        numbered = dict(enumerate(self.classes))
        return {
            "id2label": {str(number): name for number, name in numbered.items()},
            "label2id": {name: number for number, name in numbered.items()},
        }

    def load(self, module: Classifier, folder: Path, model: ModelConfig) -> None:
        """Put the head that :meth:`save` wrote into a module."""
        kernel, bias = model.load_classifier(folder)
        if module.head.bias is None:
            if bias is not None:
                module.head.bias = nnx.Param(jnp.asarray(bias))
        else:  # folded into the last norm, there is none left
            bias = np.zeros(kernel.shape[1], np.float32) if bias is None else bias
            nnx.update(module, {"head": {"bias": jnp.asarray(bias)}})
        nnx.update(module, {"head": {"kernel": jnp.asarray(kernel)}})

    def pretrained(self, model: ModelConfig) -> tuple[bool, str]:
        """Whether the pretrained weights have a classifier of the same classes, in any order."""
        if self.config.problem_type is ProblemType.NUMBER or (folder := model.folder()) is None:
            return False, ""
        if not model.has_classifier(folder):
            return False, ""
        about = folder / "config.json"
        names, several = (
            foreign.label_names(about),
            foreign.settings_of(about).get("problem_type") == MULTI_LABEL,
        )
        if sorted(names) == sorted(self.classes) and several == (
            self.config.problem_type is ProblemType.LABELS
        ):
            return True, ""
        kinds = {True: _("any number of labels"), False: _("one class")}
        return False, _(
            "The head of the pretrained weights predicts {kind} of {names}; the rows have {own_kind} of {classes}: "
            "the head is randomly initialised.",
            kind=kinds[several], names=", ".join(names[:SHOWN]),
            own_kind=kinds[self.config.problem_type is ProblemType.LABELS], classes=", ".join(self.classes[:SHOWN]),
        )  # fmt: skip

    def start(self, module: Classifier, folder: Path, model: ModelConfig) -> None:
        """Put the pretrained head of a folder into a module, its outputs in the order of these classes."""
        self.load(module, folder, model)
        names = foreign.label_names(folder / "config.json")
        order = np.array([names.index(name) for name in self.classes])
        nnx.update(module.head, jax.tree.map(lambda part: part[..., order], nnx.state(module.head)))


@dataclass(frozen=True, eq=False)
class Classification(PooledHead):
    """A linear layer on the pooled vector, trained to predict one class."""

    config: Classify
    class_weights: np.ndarray  # f32[c]

    monitor: ClassVar[str] = "f1"
    train_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1")

    @property
    def eval_metrics(self) -> tuple[str, ...]:
        """The averages, and F1 of the first 20 classes as ``f1/0``, ``f1/1`` …"""
        each = (f"f1/{number}" for number in range(min(len(self.classes), SINGLE)))
        return ("loss", "accuracy", "precision", "recall", *each, "f1")

    @classmethod
    def of(cls, config: Classify, classes: tuple[str, ...]) -> Self:
        """The head of a model that is trained already: every class weighs 1."""
        return cls(config, np.ones(len(classes), np.float32), classes=classes)

    def empty(self) -> metrics.MetricState:
        """The metric sums over no examples."""
        return metrics.Counts.empty(len(self.classes))

    def loss(
        self, module: Classifier, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], metrics.MetricState]:
        """Cross-entropy of a batch: the sum over its examples, each times its weight and that of its class;
        the sum of these weights, by which the step divides; and the counts.

        Label smoothing (Szegedy et al., arXiv 1512.00567), augmentation and mixup are for training, with a
        ``key``; the counts are then of the mixed examples by their own labels.
        """
        label, weight = batch["label"].reshape(-1), batch["weight"].reshape(-1)
        batch, key, mix = changed(self.config, batch, key)
        logits = module(batch, key=key)
        logits = logits.reshape(-1, logits.shape[-1])
        losses = cross_entropy(logits, label)
        if mix is not None:
            losses = mix.share * losses + (1 - mix.share) * cross_entropy(logits, label[mix.partner])
        if key is not None and (smooth := self.config.label_smoothing):
            losses = (1 - smooth) * losses + smooth * (jax.nn.logsumexp(logits, -1) - logits.mean(-1))
        weighed = weight * jnp.asarray(self.class_weights)[label]
        return jnp.sum(losses * weighed), jnp.sum(weighed), metrics.count(logits, label, weight, losses)

    def predict(self, module: Classifier, batch: Batch) -> Float[Array, "b c"] | Float[Array, "b s c"]:
        """Softmax over the classes."""
        return jax.nn.softmax(module(batch))


class Mix(NamedTuple):
    """How the examples of a batch were mixed in pairs."""

    partner: Int[Array, " b"]  # the other example
    share: Float[Array, ""]  # of the example itself


def changed(
    config: Supervised, batch: Batch, key: jax.Array | None
) -> tuple[Batch, jax.Array | None, Mix | None]:
    """A batch of pictures as chance changes it while training, a key for what comes after, and how it was
    mixed."""
    if key is None or "inputs" not in batch:
        return batch, key, None
    key, changes, mixes = jax.random.split(key, 3)
    if config.augment != "none":
        batch = {**batch, "inputs": augment(batch["inputs"], config.augment, changes)}
    if not config.mixup:
        return batch, key, None
    mixed, partner, share = mixup(batch["inputs"], batch["weight"].reshape(-1), config.mixup, mixes)
    return {**batch, "inputs": mixed}, key, Mix(partner, share)


def cross_entropy(logits: Float[Array, "b c"], label: Int[Array, " b"]) -> Float[Array, " b"]:
    """Cross-entropy of each example."""
    chosen = jnp.take_along_axis(logits, label[:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen
