"""PyTorch: ``BertForSequenceClassification`` of the given size on one device, in bfloat16, eager or compiled."""

from __future__ import annotations

import os
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
# labkit's process has taken most of the memory of the GPU for itself, and gives it back at its end alone.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import torch
import transformers

from .turns import Turns

#: Steps before the first turn; a compiled model is compiled in them.
WARM = 4


def work(turns: Turns, settings: dict[str, Any]) -> None:
    """Train as ``settings`` say: ``rows``, ``length``, ``vocabulary``, ``model``, ``gpu``, ``compiled``."""
    device = "cuda" if settings["gpu"] else "cpu"
    sizes = settings["model"]
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=settings["vocabulary"], hidden_size=sizes["width"], num_hidden_layers=sizes["depth"],
        num_attention_heads=sizes["heads"], intermediate_size=sizes["mlp_width"],
        hidden_dropout_prob=sizes["dropout"], attention_probs_dropout_prob=sizes["attention_dropout"],
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    model: Any = transformers.BertForSequenceClassification(config).to(device).train()
    run = torch.compile(model) if settings["compiled"] else model
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.01, fused=True)
    shape = (settings["rows"], settings["length"])
    ids = torch.randint(0, settings["vocabulary"], shape, device=device)
    mask, labels = torch.ones_like(ids), torch.randint(0, 2, shape[:1], device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            loss = run(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(WARM):
        step()
    if settings["gpu"]:
        torch.cuda.synchronize()
        turns.settle = torch.cuda.synchronize
    turns.more = lambda: {"memory": torch.cuda.max_memory_allocated() if settings["gpu"] else 0}
    turns.ready(torch=torch.__version__, transformers=transformers.__version__)
    while True:
        step()
        turns.passed(shape[0] * shape[1], shape[0])
