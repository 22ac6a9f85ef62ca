"""Keras 3 on the JAX backend: KerasHub's BERT of the same sizes, on the same tokens, trained by ``fit``.

Its weights are random: speed does not depend on their values. Rows are padded to one length, that of the longest row of
the data, as Keras's users do. The loop of ``fit`` runs with a compiled train step; a callback holds it between turns.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import keras
import keras_hub
import numpy as np

from .turns import Over, Turns, best

#: Steps of a trial that are not timed, and that are.
TRIAL = (2, 6)


class Passing(keras.callbacks.Callback):
    """Calls ``passed(batch, logs)`` after each step of an epoch."""

    def __init__(self, passed: Any):
        super().__init__()
        self.passed = passed

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.passed(batch, logs)


def model_of(settings: dict[str, Any], precision: str) -> keras.Model:
    """KerasHub's BERT with a head for classes, compiled with AdamW."""
    sizes = settings["model"]
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=sizes["vocab_size"],
        num_layers=sizes["depth"],
        num_heads=sizes["heads"],
        hidden_dim=sizes["width"],
        intermediate_dim=sizes["mlp_width"],
        dropout=sizes["dropout"],
        max_sequence_length=sizes["max_length"],
    )
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=settings["classes"], preprocessor=None)
    model.compile(
        optimizer=keras.optimizers.AdamW(settings["learning_rate"], weight_decay=0.01, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
    )
    return model


def rows(settings: dict[str, Any]) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Inputs, labels and the real tokens of every batch; mixed once, whole batches only."""
    tokens, size = np.load(settings["tokens"]), settings["batch_size"]
    lengths = np.diff(tokens["offsets"])
    order = np.random.default_rng(0).permutation(len(lengths))[: len(lengths) // size * size]
    long = -(-int(lengths.max()) // 8) * 8
    real = np.arange(long) < lengths[order][:, None]
    source = np.where(real, tokens["offsets"][order][:, None] + np.arange(long), 0)
    inputs = {
        "token_ids": np.where(real, tokens["ids"][source], 0).astype("int32"),
        "padding_mask": real.astype("int32"),
        "segment_ids": np.zeros_like(source, "int32"),
    }
    return inputs, tokens["label"][order].astype("int32"), real.sum(axis=1).reshape(-1, size).sum(axis=1)


def fit(settings: dict[str, Any], precision: str, passed: Any) -> None:
    """Train until ``passed(tokens, examples, logs)``, called after each step, raises Over."""
    inputs, labels, counts = rows(settings)
    size = settings["batch_size"]
    told = Passing(lambda batch, logs: passed(int(counts[batch]), size, logs))
    model_of(settings, precision).fit(
        inputs, labels, batch_size=size, epochs=1000, shuffle=False, verbose=0, callbacks=[told]
    )


def rate(settings: dict[str, Any], precision: str) -> float:
    """Real tokens a second of a short training."""
    passes: list[tuple[float, int]] = []

    def passed(tokens: int, examples: int, logs: Any) -> None:
        jax.block_until_ready(logs)
        passes.append((time.perf_counter(), tokens))
        if len(passes) > sum(TRIAL):
            raise Over

    with contextlib.suppress(Over):
        fit(settings, precision, passed)
    timed = passes[TRIAL[0] :]
    return sum(tokens for _, tokens in timed[1:]) / (timed[-1][0] - timed[0][0])


def work(turns: Turns, settings: dict[str, Any]) -> None:
    """Find the faster precision, then train with it, turn by turn."""
    trials = {
        name: (lambda name=name: rate(settings, name))
        for name in settings.get("precisions", ("float32", "mixed_bfloat16"))
    }
    precision, rates = best(trials)
    count, newest = 0, None
    turns.settle = lambda: jax.block_until_ready(newest)

    def passed(tokens: int, examples: int, logs: Any) -> None:
        nonlocal count, newest
        count, newest = count + 1, logs
        if count > TRIAL[0]:
            turns.passed(tokens, examples)
        elif count == TRIAL[0]:
            jax.block_until_ready(newest)
            length = rows(settings)[0]["token_ids"].shape[1]
            turns.ready(
                variant=f"{precision}, padded to {length}", tried={k: round(v, 1) for k, v in rates.items()},
                keras=keras.__version__, keras_hub=keras_hub.__version__, jax=jax.__version__,
            )  # fmt: skip

    fit(settings, precision, passed)
