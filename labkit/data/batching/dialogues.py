"""Conversations as tokens, of which those of the responses are learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.errors import DataError
from labkit.data.batching.base import Batch
from labkit.data.batching.buckets import BucketBatches
from labkit.data.text import chat
from labkit.data.text.tokens import TokenExamples, Tokens
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.data.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class DialogueTokens(TokenExamples):
    """n conversations.

    Attributes:
        tokens: the conversations; ``label`` is 0, and -1 where nothing of a response is left after truncation.
        learnt: bool[total], True at the tokens of responses.
    """

    learnt: np.ndarray


class DialogueBatches(BucketBatches):
    """As ``BucketBatches``, with ``learnt`` bool[b, t]."""

    def __init__(self, examples: DialogueTokens, *args: Any, **settings: Any):
        super().__init__(examples.tokens, *args, **settings)
        self.dialogues = examples

    def _gather(self, index: np.ndarray, width: int) -> Batch:
        batch = super()._gather(index, width)
        start = self.tokens.offsets.take(index, mode="clip")
        learnt = self.dialogues.learnt.take(start[:, None] + np.arange(width), mode="clip")
        return {**batch, "learnt": learnt & batch["mask"] & (index >= 0)[:, None]}


def dialogues(
    talks: Sequence[chat.Messages], tokenizer: Tokenizer, max_length: int, rows: np.ndarray | None = None
) -> DialogueTokens:
    """The tokens of conversations by the chat template, cut after ``max_length`` tokens.

    Args:
        talks: the conversations.
        tokenizer: of a chat model.
        max_length: tokens of a conversation at most.
        rows: i64[n], their row numbers; by default counted from 0.

    Raises:
        ConfigError: there is no chat template, or it is not fit for training (:func:`labkit.data.text.chat.encoded`).
        DataError: nothing of any response is within ``max_length``.
    """
    found = chat.encoded(tokenizer, talks)
    ids = [each.ids[:max_length] for each in found]
    learnt = [each.learnt[:max_length] for each in found]
    offsets = np.cumsum([0, *map(len, ids)]).astype(np.int64)
    label = np.array([0 if each[1:].any() else -1 for each in learnt], np.int32)
    if len(talks) and not (label == 0).any():
        raise DataError(
            _("max_length = {max_length} leaves no token of any response; the shortest prompt has {n} tokens."),
            max_length=max_length, n=min(int(each.learnt.argmax()) for each in found),
        )  # fmt: skip
    flat = np.concatenate([*ids, np.zeros(0, np.int32)])
    tokens = Tokens(
        flat, np.zeros(len(flat), np.uint8), offsets, label,
        np.arange(len(talks), dtype=np.int64) if rows is None else rows, tokenizer.pad_id,
        sum(len(each.ids) > max_length for each in found),
    )  # fmt: skip
    return DialogueTokens(tokens, np.concatenate([*learnt, np.zeros(0, bool)]))
