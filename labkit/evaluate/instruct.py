"""Evaluation of instruction tuning: the loss on responses with an interval, beside the model before the tuning."""

from __future__ import annotations

import numpy as np

from labkit.data.batching.dialogues import dialogues
from labkit.data.conversations import conversations_of
from labkit.data.rows import Rows
from labkit.evaluate.intervals import Interval
from labkit.inference.chatting import ChatPipeline
from labkit.inference.registry import pipeline_of
from labkit.runs.handle import RunHandle

RESAMPLES = 1000


def compare_responses(
    run: RunHandle, rows: Rows, split: str, baseline: bool = True
) -> tuple[dict[str, float], dict[str, Interval]]:
    """The loss of the tuned model on the responses of a split, and that of the pretrained model it began from.

    Args:
        run: of the task "instruct".
        rows: its rows.
        split: which of them.
        baseline: compute the pretrained model too.

    Returns:
        ``loss``, ``perplexity``, ``untuned_loss`` and ``loss_gain`` (untuned - tuned, in nats a token), those that
        apply; and 95 % intervals by conversation, paired for the gain.
    """
    tuned = pipeline_of(run, ChatPipeline)
    examples = dialogues(
        conversations_of(rows[split]),
        tuned.tokenizer,
        run_length(tuned),
        np.array(rows[split]["row"], np.int64),
    )
    sums, counts = tuned.response_losses(examples)
    columns = {"loss": sums}
    weights = run.experiment.model.weights
    if baseline and weights:
        columns["untuned_loss"] = ChatPipeline(weights).response_losses(examples)[0]
        columns["loss_gain"] = columns["untuned_loss"] - sums
    draws = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
    tokens = draws @ counts
    values, intervals = {}, {}
    for name, each in columns.items():
        values[name] = float(each.sum() / counts.sum())
        low, high = np.percentile((draws @ each)[tokens > 0] / tokens[tokens > 0], [2.5, 97.5])
        intervals[name] = float(low), float(high)
    values["perplexity"] = float(np.exp(values["loss"]))
    low, high = intervals["loss"]
    intervals["perplexity"] = float(np.exp(low)), float(np.exp(high))
    return values, intervals


def run_length(pipeline: ChatPipeline) -> int:
    """Tokens of a conversation at most, as the model was trained."""
    return min(pipeline.max_length, pipeline.model.config.max_length)
