"""Instruction tuning: supervised fine-tuning of a chat model on prompts and responses (Ouyang et al. 2022, arXiv
2203.02155, section 3.1), with the loss on the tokens of the responses alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from labkit.core.config import option
from labkit.core.shapes import Array, Float
from labkit.data.text.tokenizer import Tokenizer
from labkit.i18n import _
from labkit.tasks.base import Batch, ExampleFormat
from labkit.tasks.lm import LanguageModel, LanguageModelling


@dataclass(frozen=True)
class Instruct(LanguageModel):
    """Settings of instruction tuning. The rows are pairs of a prompt and a response, or conversations; the chat
    template of the model makes texts of them, and the responses are learnt. It needs pretrained weights of a chat
    model, such as "smollm2-135m"."""

    needs_pairs: ClassVar[bool] = True
    usual_preset: ClassVar[str] = "smollm2-135m"
    usual_trainable: ClassVar[str] = "lora"

    max_length: int | None = option(
        None,
        _("Maximum length of a conversation in tokens. Default: chosen from the data."),
        low=8,
        high=1_000_000,
    )

    @property
    def example_format(self) -> ExampleFormat:
        """How rows become examples."""
        return ExampleFormat.CONVERSATION

    def restore(self, classes: tuple[str, ...], tokenizer: Tokenizer | None = None) -> InstructionTuning:
        """The head; it depends on no data."""
        return InstructionTuning(self)


@dataclass(frozen=True, eq=False)
class InstructionTuning(LanguageModelling):
    """Causal language modelling of the responses; the output table is the head."""

    config: Instruct

    def token_weights(self, batch: Batch) -> Float[Array, "b t"]:
        """The weight in the loss of every token but the first of a row, f32[b, t - 1]: that of its conversation at the
        tokens of responses, 0 elsewhere."""
        return batch["weight"][:, None] * batch["learnt"][:, 1:]
