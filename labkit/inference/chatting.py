"""Chat with a model that a run has tuned on instructions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from labkit.data.batching.buckets import choose_buckets
from labkit.data.batching.dialogues import DialogueBatches, DialogueTokens
from labkit.inference.text_generation import TextGenerationPipeline
from labkit.tasks.instruct import Instruct
from labkit.tasks.token_metrics import row_losses

#: Conversations whose losses are computed at a time.
BATCH = 8


class ChatPipeline(TextGenerationPipeline):
    """A model of the task "instruct" that a run has written or exported, or pretrained weights of a chat model
    ("smollm2-135m"): it answers messages."""

    task = Instruct

    def __init__(
        self, source: str | Path, device: jax.Device | None = None, plugins: Sequence[str] = (), dtype: str = "auto"
    ):  # fmt: skip
        super().__init__(source, device, plugins, dtype)

        def losses(model: Any, batch: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
            hidden = model(batch["ids"], batch["mask"]).hidden[:, :-1]
            learnt = batch["learnt"][:, 1:]
            return row_losses(model.logits, hidden, batch["ids"][:, 1:], learnt), jnp.sum(learnt, axis=1)

        self._losses = self.compiled(losses)

    def response_losses(self, examples: DialogueTokens) -> tuple[np.ndarray, np.ndarray]:
        """The loss of the responses of conversations.

        Args:
            examples: n conversations, by the tokenizer of this model.

        Returns:
            For each conversation the sum of -log probability of the tokens of its responses in nats f64[n], and their
            number i64[n].
        """
        sums, counts = np.zeros(len(examples)), np.zeros(len(examples), np.int64)
        longest = self.model.config.max_length
        widths = choose_buckets(examples.lengths, longest, 2, batch_size=BATCH)
        batches = DialogueBatches(examples, BATCH, widths, shuffle=False, labelled_only=False)
        for index, (loss, count) in self._results(lambda batch: self._losses(_arrays(batch)), batches):
            sums[index], counts[index] = loss, count
        return sums, counts


def _arrays(batch: dict[str, Any]) -> dict[str, Any]:
    """What the loss reads of a batch."""
    return {name: batch[name] for name in ("ids", "mask", "learnt")}
