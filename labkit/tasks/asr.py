"""Speech recognition: a transcript of a sound, character by character (Graves et al. 2006; Gulati et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from labkit.models import layers
from labkit.models.base import Capability, Modality, ModelConfig
from labkit.tasks.base import Batch, ExampleFormat, Head, MetricState, Task
from labkit.tasks.ctc import ctc_loss, emitted, greedy_edits, spectral_augment
from labkit.tasks.metrics import mean_loss


@dataclass(frozen=True)
class SpeechRecognition(Task):
    """Settings of speech recognition. The rows are sounds with transcripts; their characters are what is learnt."""

    modalities: ClassVar[tuple[Modality, ...]] = (Modality.AUDIO,)
    needs: ClassVar[Capability] = Capability.FRAMES
    needs_transcripts: ClassVar[bool] = True
    shown: ClassVar[tuple[str, ...]] = ("warp", "masks")
    applies: ClassVar[Mapping[str, tuple[Modality, ...]]] = {}
    reading: ClassVar[tuple[str, ...]] = ("bands", "order")

    bands: int = option(40, _("Mel bands of a frame."), low=8, high=200)
    warp: float = option(
        0.25,
        _("Augmentation: frequencies are stretched by a random factor of up to 1 plus this, as of another voice. 0: "
          "none."),
        low=0.0, high=1.0,
    )  # fmt: skip
    masks: int = option(
        2, _("Augmentation: number of bands, and of spans of time, that are hidden. 0: none."), low=0, high=20
    )
    order: int = option(
        5, _("Characters of the n-grams of the language model for beam search."), low=2, high=10
    )

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.TRANSCRIPTS

    def build(
        self,
        classes: tuple[str, ...],
        labels: np.ndarray,
        tokenizer: Tokenizer | None = None,
        target: np.ndarray | None = None,
    ) -> Transcribing:
        """The head for the characters of the training rows.

        Raises:
            DataError: there are none.
        """
        if not classes:
            raise DataError(
                _('the sounds have no transcripts: name their column, lk.load(folder, transcript="text").')
            )
        return self.restore(classes, tokenizer)

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> Transcribing:
        """The head of a model that is trained already; ``classes`` are its characters."""
        return Transcribing(self, classes=classes)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TranscriptSums(MetricState):
    """Sums over transcripts."""

    loss_sum: Float[Array, ""]  # sum of weight * loss
    weight: Float[Array, ""]
    edits: Int[Array, ""]  # edit distance of greedy decoding, in characters
    characters: Int[Array, ""]  # of the transcripts

    @classmethod
    def empty(cls) -> Self:
        """The sums over no transcripts."""
        one, none = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
        return cls(one, one, none, none)

    def compute(self) -> dict[str, float]:
        """``loss``: nats a character; ``cer``: the character error rate of greedy decoding, 0 to 1 and more."""
        host = jax.device_get(self)
        rate = float(host.edits) / float(host.characters) if host.characters else float("nan")
        return {"loss": mean_loss(host), "cer": rate}


class Scored(NamedTuple):
    """Scores of the characters at every frame f32[b, t, v], and how many frames are real, i32[b]."""

    logits: Float[Array, "b t v"]
    length: Int[Array, " b"]


class Transcriber(nnx.Module):
    """A backbone over frames, and a linear layer to the blank and the characters."""

    def __init__(self, backbone: nnx.Module, width: int, outputs: int, *, rngs: nnx.Rngs):
        self.backbone: Any = backbone
        self.head = layers.dense(width, outputs, "float32", rngs)

    def __call__(self, batch: Batch, *, key: jax.Array | None = None) -> Scored:
        """The scores of a batch of sounds."""
        found = self.backbone(batch["inputs"], batch["length"], key=key)
        return Scored(self.head(found.hidden).astype(jnp.float32), found.length)


@dataclass(frozen=True, eq=False)
class Transcribing(Head):
    """Characters at every frame by a linear layer; ``classes`` are the characters."""

    config: SpeechRecognition

    monitor: ClassVar[str] = "cer"
    train_metrics: ClassVar[tuple[str, ...]] = ("cer",)

    @property
    def outputs(self) -> int:
        """The characters and the blank."""
        return len(self.classes) + 1

    def init(self, model: ModelConfig, rngs: nnx.Rngs) -> Transcriber:
        """The model of config ``model`` with a new head."""
        return Transcriber(model.build(rngs), model.output_width, self.outputs, rngs=rngs)

    def empty(self) -> MetricState:
        """The metric sums over no transcripts."""
        return TranscriptSums.empty()

    def loss(
        self, module: Transcriber, batch: Batch, key: jax.Array | None
    ) -> tuple[Float[Array, ""], Float[Array, ""], MetricState]:
        """The CTC loss of each transcript ÷ its characters; see :meth:`Head.loss`."""
        task, weight = self.config, batch["weight"]
        if key is not None:
            changes, key = jax.random.split(key)
            frames = spectral_augment(batch["inputs"], batch["length"], changes, task.warp, task.masks)
            batch = {**batch, "inputs": frames}
        found = module(batch, key=key)
        real, count = weight > 0, batch["count"]
        each = ctc_loss(found.logits, found.length, batch["characters"], count)
        each = jnp.where(real, each, 0) / jnp.maximum(count, 1)
        total = jnp.sum(each * weight)
        edits = greedy_edits(jnp.argmax(found.logits, -1), found.length, batch["characters"], count)
        sums = TranscriptSums(
            total,
            jnp.sum(weight),
            jnp.sum(edits * real, dtype=jnp.int32),
            jnp.sum(count * real, dtype=jnp.int32),
        )
        return total, sums.weight, sums

    def log_probabilities(self, module: Transcriber, batch: Batch) -> tuple[Array, Array, Array]:
        """Log-probabilities of the blank and the characters f32[b, t, v]; the real frames of each sound i32[b]; and
        which frames emit a character in greedy decoding, bool[b, t]."""
        found = module(batch)
        logs = jax.nn.log_softmax(found.logits)
        return logs, found.length, emitted(jnp.argmax(logs, -1), found.length)
