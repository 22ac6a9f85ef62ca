"""Hugging Face: ``BertForSequenceClassification`` on the same weights, trained by the ``Trainer`` itself.

The real loop of ``Trainer.train`` runs, with its dynamic padding (``DataCollatorWithPadding``), AdamW, clipping and
linear schedule; a callback holds it between turns. Before, every number of threads and every precision is tried, and
the fastest one takes part; at its best also batches of texts of about one length, and a compiled model.
"""

from __future__ import annotations

import collections
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_PROGRESS_BARS="1")

import numpy as np
import torch
import transformers

from .turns import Over, Turns, best

#: Steps of a trial that are not timed, and that are.
TRIAL = (2, 6)
#: The same of a compiled model, which is compiled for a few lengths first.
COMPILED_TRIAL = (8, 6)


class Passing(transformers.TrainerCallback):
    """Says ``passed`` to the turns after each step of the Trainer, with what the collator has counted."""

    def __init__(self, counted: collections.deque[tuple[int, int]], passed: Any):
        self.counted, self.passed = counted, passed

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.passed(*self.counted.popleft())


def trainer(settings: dict[str, Any], variant: dict[str, Any], passed: Any) -> transformers.Trainer:
    """A Trainer for the same weights and the same tokens.

    Args:
        settings: ``weights`` and ``tokens`` (paths), ``classes``, ``batch_size``, ``learning_rate``, ``total`` steps,
            ``scratch`` (a folder).
        variant: ``threads``, ``bf16``, ``attention``, ``sampling`` ("random", "group_by_length"), ``compiled``.
        passed: called after each step with its real tokens and examples.
    """
    torch.set_num_threads(variant["threads"])
    transformers.set_seed(0)
    model = transformers.BertForSequenceClassification.from_pretrained(
        settings["weights"], num_labels=settings["classes"], attn_implementation=variant["attention"]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(Path(settings["weights"]) / "tokenizer.json"), pad_token="[PAD]"
    )
    pad = transformers.DataCollatorWithPadding(tokenizer)
    counted: collections.deque[tuple[int, int]] = collections.deque()

    def collate(features: list[dict[str, Any]]) -> Any:
        counted.append((sum(len(feature["input_ids"]) for feature in features), len(features)))
        return pad(features)

    arguments = transformers.TrainingArguments(
        output_dir=settings["scratch"],
        per_device_train_batch_size=settings["batch_size"],
        max_steps=settings["total"],
        learning_rate=settings["learning_rate"],
        weight_decay=0.01,
        warmup_steps=settings["total"] // 10,
        max_grad_norm=1.0,
        bf16=variant["bf16"],
        train_sampling_strategy=variant["sampling"],
        torch_compile=variant["compiled"],
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    return transformers.Trainer(
        model,
        arguments,
        data_collator=collate,
        train_dataset=rows(settings),
        callbacks=[Passing(counted, passed)],
    )


def rows(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The tokens that labkit made, as the features that the collator takes."""
    tokens = np.load(settings["tokens"])
    ids, offsets, labels = tokens["ids"].tolist(), tokens["offsets"], tokens["label"].tolist()
    found = []
    for begin, end, label in zip(offsets[:-1], offsets[1:], labels, strict=True):
        row = ids[begin:end]
        # As the tokenizer gives them; a text alone is all of type 0.
        found.append({"input_ids": row, "token_type_ids": [0] * len(row), "attention_mask": [1] * len(row),
                      "label": label})  # fmt: skip
    return found


def rate(settings: dict[str, Any], variant: dict[str, Any]) -> float:
    """Real tokens a second of a short training; 0 where a compiled model does not work here."""
    warm, timed_steps = COMPILED_TRIAL if variant["compiled"] else TRIAL
    passes: list[tuple[float, int]] = []

    def passed(tokens: int, examples: int) -> None:
        passes.append((time.perf_counter(), tokens))
        if len(passes) > warm + timed_steps:
            raise Over

    try:
        with contextlib.suppress(Over):
            trainer(settings, variant, passed).train()
    except Exception:
        if variant["compiled"]:  # no C++ compiler, or a shape that it does not know
            return 0.0
        raise
    timed = passes[warm:]
    return sum(tokens for _, tokens in timed[1:]) / (timed[-1][0] - timed[0][0])


def work(turns: Turns, settings: dict[str, Any]) -> None:
    """Find the fastest variant, then train with it, turn by turn."""
    with tempfile.TemporaryDirectory(
        prefix="labkit-bench-"
    ) as scratch:  # the Trainer wants one, and writes nothing
        _work(turns, {**settings, "scratch": scratch})


def variants_of(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is tried: threads, precision and attention; with ``at_best`` in batches of one length, compiled or not."""
    found = {}
    sampling = "group_by_length" if settings.get("at_best") else "random"
    for compiled in (False, True) if settings.get("at_best") else (False,):
        for attention in ("sdpa", "eager"):
            for bf16 in (False, True):
                for threads in settings.get("threads", (1, 2)):
                    if compiled and not (
                        bf16 and attention == "sdpa" and threads == max(settings.get("threads", (2,)))
                    ):
                        continue  # each takes minutes to compile
                    name = f"{threads} threads, {'bfloat16' if bf16 else 'float32'}, {attention}"
                    name += ", group_by_length" * (sampling != "random") + ", compiled" * compiled
                    found[name] = {
                        "threads": threads, "bf16": bf16, "attention": attention, "sampling": sampling,
                        "compiled": compiled,
                    }  # fmt: skip
    return found


def _work(turns: Turns, settings: dict[str, Any]) -> None:
    transformers.logging.set_verbosity_error()
    variants = variants_of(settings)
    trials = {name: (lambda variant=variant: rate(settings, variant)) for name, variant in variants.items()}
    name, rates = best(trials)
    turns.wanted, ready = TRIAL[0], False

    def passed(tokens: int, examples: int) -> None:
        nonlocal ready
        if ready:
            turns.passed(tokens, examples)
            return
        turns.wanted -= 1
        if not turns.wanted:
            ready = True
            turns.ready(variant=name, tried={k: round(v, 1) for k, v in rates.items()}, **versions())

    trainer(settings, variants[name], passed).train()


def versions() -> dict[str, str]:
    """What is measured."""
    return {"torch": torch.__version__, "transformers": transformers.__version__}
