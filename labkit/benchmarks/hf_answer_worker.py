"""Hugging Face: answers to texts by transformers at its best: sorted by length, bfloat16, best number of threads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="true", HF_HUB_DISABLE_PROGRESS_BARS="1")

import torch
import transformers

from .turns import Turns, best

#: Texts of a batch.
BATCH = 32
#: Share of a turn that a trial takes.
TRIAL = 4
#: Kinds whose answer is a vector: the mean over the tokens.
POOLED = {"embed"}


def answerer(settings: dict[str, Any], variant: dict[str, Any]) -> Callable[[int], int]:
    """A function that answers so many texts, or generates so many tokens, and returns how many it did.

    Args:
        settings: ``kind``, ``model`` (a folder), ``texts`` (a file, a text a line).
        variant: ``threads``, ``dtype``, ``static`` (a compiled model with a static cache).
    """
    torch.set_num_threads(variant["threads"])
    kind, folder = settings["kind"], settings["model"]
    texts = Path(settings["texts"]).read_text(encoding="utf-8").splitlines()
    classes = {
        "classify": transformers.AutoModelForSequenceClassification, "embed": transformers.AutoModel,
        "generate": transformers.AutoModelForCausalLM,
    }  # fmt: skip
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"))
    tokenizer.pad_token = tokenizer.pad_token or "[PAD]"
    model = classes[kind].from_pretrained(folder, dtype=getattr(torch, variant["dtype"])).eval()
    if kind == "generate":
        ids = torch.tensor([tokenizer(texts[0])["input_ids"]])
        more = {"cache_implementation": "static"} if variant["static"] else {}
        if variant["static"]:
            model.forward = torch.compile(model.forward, mode="max-autotune-no-cudagraphs", dynamic=False)

        def generate(count: int) -> int:
            exactly = {"min_new_tokens": count, "max_new_tokens": count, "do_sample": False}
            made = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **exactly, **more)
            return made.shape[1] - ids.shape[1]

        return generate

    def answer(count: int) -> int:
        known = tokenizer(texts[:count], truncation=True, max_length=settings["max_length"])["input_ids"]
        order = sorted(range(count), key=lambda place: len(known[place]))
        for start in range(0, count, BATCH):
            rows = [known[place] for place in order[start : start + BATCH]]
            wide = max(map(len, rows))
            given = torch.tensor([row + [0] * (wide - len(row)) for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (wide - len(row)) for row in rows])
            with torch.inference_mode():
                made = model(input_ids=given, attention_mask=mask)
                if kind not in POOLED:
                    made.logits.argmax(-1).tolist()
                else:
                    held = mask[..., None].to(made.last_hidden_state.dtype)
                    pooled = (made.last_hidden_state * held).sum(1) / held.sum(1)
                    torch.nn.functional.normalize(pooled.float(), dim=-1).numpy()
        return count

    return answer


def rate(settings: dict[str, Any], variant: dict[str, Any]) -> float:
    """Answers a second of a short trial; 0 where a variant does not work here."""
    count = max(settings["steps"] // TRIAL, 2)
    try:
        answer = answerer(settings, variant)
        answer(count)  # caches fill, and the compiled model is compiled
        begin = time.perf_counter()
        return answer(count) / (time.perf_counter() - begin)
    except Exception:  # no compiler, or a model that it does not know
        return 0.0


def work(turns: Turns, settings: dict[str, Any]) -> None:
    """Find the fastest variant, then answer with it, turn by turn. A step is a text, or a new token."""
    transformers.logging.set_verbosity_error()
    static = settings.get("static", False)
    variants = {
        f"{threads} threads, {dtype}{', static cache, compiled' if static else ''}": {
            "threads": threads, "dtype": dtype, "static": static,
        }
        for dtype in ("float32", "bfloat16")
        for threads in settings.get("threads", (1, 2))
    }  # fmt: skip
    trials = {name: (lambda variant=variant: rate(settings, variant)) for name, variant in variants.items()}
    name, rates = best(trials)
    if not any(rates.values()):
        raise RuntimeError("no variant of the peer works here; a compiled model needs a C++ compiler")
    answer = answerer(settings, variants[name])
    answer(settings["steps"])
    turns.ready(
        variant=name, tried={k: round(v, 2) for k, v in rates.items()}, torch=torch.__version__,
        transformers=transformers.__version__,
    )  # fmt: skip
    while True:
        done = answer(turns.wanted)
        turns.passed(tokens=done, examples=done, steps=turns.wanted)
