"""Token classification: a tag for every word, such as a part of speech or the begin of a name (Devlin et al. 2018,
section 5.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.config import option
from labkit.core.errors import DataError, WeightsError
from labkit.core.shapes import Array, Float
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.models import foreign, layers, weights
from labkit.models.base import Capability, ModelConfig
from labkit.profile.activations import Activations, linear_head
from labkit.tasks.base import (
    Batch,
    ExampleFormat,
    Head,
    Task,
    tokenizer_option,
    vocabulary_option,
)
from labkit.tasks.metrics import AccuracySums

#: Stored name of the last layer of a ``…ForTokenClassification``.
OUTPUT = "classifier"


@dataclass(frozen=True)
class TokenClassification(Task):
    """Settings of token classification. The rows are sentences, their words divided by spaces, with a tag for every
    word; the tag of a word is learnt and predicted at its first token."""

    needs: ClassVar[Capability] = Capability.SPANS
    needs_tags: ClassVar[bool] = True
    rate_factor: ClassVar[float] = 2.0

    max_length: int | None = option(
        None, _("Maximum sequence length in tokens. Default: chosen from the data."), low=8, high=1_000_000
    )
    vocabulary: int = vocabulary_option()
    tokenizer: str = tokenizer_option()

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.TAGS

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> WordTagging:
        """The head for the tags of the training rows.

        Raises:
            DataError: there are fewer than two tags.
        """
        if len(classes) < 2:
            raise DataError(
                _("token classification needs at least two tags; the training rows have {tags}."),
                tags=", ".join(classes) or _("none"),
            )
        return self.restore(classes, tokenizer)

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> WordTagging:
        """The head of a model that is trained already."""
        return WordTagging(self, classes=classes)


class Tagger(nnx.Module):
    """An encoder and a linear layer with a score of each tag for each token."""

    def __init__(self, backbone: nnx.Module, width: int, tags: int, rngs: nnx.Rngs):
        self.backbone: Any = backbone
        self.head = layers.dense(width, tags, "float32", rngs)

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Float[Array, "b t c"]:
        """Logits of the tags."""
        return self.head(self.backbone(batch["ids"], batch["mask"], batch["types"], key=key).hidden)


def has_tagger(folder: Path) -> bool:
    """Whether a folder of weights holds a head for tags."""
    stored = weights.Tensors(folder) if foreign.names_class(folder, "ForTokenClassification") else ()
    return f"{OUTPUT}.weight" in stored


@dataclass(frozen=True, eq=False)
class WordTagging(Head):
    """A linear layer that scores the tags of each token; ``classes`` are the names of the tags."""

    config: TokenClassification

    train_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    @property
    def unused(self) -> tuple[str, ...]:
        """Prefixes of parameters that nothing reads; they are not stored."""
        return ("backbone/pooler/",)

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Tagger:
        """The model of config ``model`` with a new head."""
        return Tagger(model.build(rngs), model.output_width, len(self.classes), rngs)

    def get_config(self) -> dict[str, Any]:
        """The names of the tags as transformers stores them."""
        return {
            "id2label": {str(number): name for number, name in enumerate(self.classes)},
            "label2id": {name: number for number, name in enumerate(self.classes)},
        }

    def save(
        self, params: dict[str, np.ndarray], model: ModelConfig, folder: Path, specials: weights.Specials
    ) -> None:
        """Write the model of config ``model`` in the layout of its family, as ``…ForTokenClassification``."""
        tensors = {f"{OUTPUT}.weight": params["head/kernel"].T, f"{OUTPUT}.bias": params["head/bias"]}
        name = f"{model.classes}ForTokenClassification"
        model.save(
            weights.backbone(params), folder, tensors, specials, architectures=[name], **self.get_config()
        )

    def load(self, module: Tagger, folder: Path, model: ModelConfig) -> None:
        """Put the head that :meth:`save` wrote into a module. Raises :class:`WeightsError` for one of other tags."""
        tensors = weights.Tensors(folder)
        kernel, bias = (jnp.asarray(tensors.checked(f"{OUTPUT}.{part}")) for part in ("weight", "bias"))
        if kernel.shape != (len(self.classes), model.output_width) or bias.shape != (len(self.classes),):
            raise WeightsError(
                _("{name}.weight {kernel} and {name}.bias {bias} of {folder!r} are not a head for {tags} tags and "
                  "width {width}."),
                name=OUTPUT, kernel=list(kernel.shape), bias=list(bias.shape), folder=folder.name,
                tags=len(self.classes), width=model.output_width,
            )  # fmt: skip
        nnx.update(module, {"head": {"kernel": kernel.T, "bias": bias}})

    def pretrained(self, model: ModelConfig) -> tuple[bool, str]:
        """Whether the pretrained weights have a head for the same tags."""
        folder = model.folder()
        if folder is None or not has_tagger(folder):
            return False, ""
        if foreign.label_names(folder / "config.json") == self.classes:
            return True, ""
        return False, _("The head of the pretrained weights has other tags: a new one is trained.")

    def empty(self) -> AccuracySums:
        """The metric sums over no examples."""
        return AccuracySums.empty()

    def activations(self, model: ModelConfig, batch: Mapping[str, Any]) -> Activations | None:
        """What the loss of a batch computes and keeps, by formula; None where the model has none."""
        found = model.activations(batch)
        return found and found + linear_head(batch["ids"].size, model.output_width, len(self.classes), False)

    def loss(
        self, module: Tagger, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], AccuracySums]:
        """The cross-entropy of the tags: the sum over words, each times the weight of its sentence; the sum of these
        weights; and the sums to report."""
        logits, tag = module(batch, key=key), batch["tag"]
        weight = jnp.where(tag >= 0, batch["weight"][:, None], 0)
        chosen = jnp.take_along_axis(logits, jnp.maximum(tag, 0)[..., None], axis=-1)[..., 0]
        real = weight > 0
        total = jnp.sum(jnp.where(real, (jax.nn.logsumexp(logits, axis=-1) - chosen) * weight, 0))
        right = jnp.sum(real & (jnp.argmax(logits, axis=-1) == tag), dtype=jnp.int32)
        sums = AccuracySums(total, jnp.sum(weight), right, jnp.sum(real, dtype=jnp.int32))
        return total, sums.weight, sums
