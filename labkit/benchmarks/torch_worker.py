"""PyTorch: plain eager loops for the small networks, with the threads and the memory layout that are fastest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .turns import Turns, best

#: Seconds of a trial, and steps before it that are not timed.
TRIAL, WARM = 1.0, 3


def network(case: str, sizes: dict[str, Any]) -> nn.Module:
    """The network of a case.

    Args:
        case: "mlp", or a stack of convolutions.
        sizes: for the MLP ``hidden``; else ``stages`` (channels of the convolutions of each stage; a pooling of 2 × 2
            ends it), ``hidden`` (linear layers after them), ``norm`` ("" or "group"), ``average`` (mean over the
            picture before the linear layers, else it is flattened), ``dropout``; ``shape`` of an input, (h, w, c)
            or (f,), and ``classes`` for all.
    """
    *picture, channels = sizes["shape"]
    layers: list[nn.Module] = []
    for stage in sizes.get("stages", ()):
        for wide in stage:
            layers.append(nn.Conv2d(channels, wide, 3, padding=1))
            if sizes.get("norm") == "group":
                layers.append(nn.GroupNorm(min(32, wide), wide))
            layers.append(nn.ReLU())
            channels = wide
        layers.append(nn.MaxPool2d(2))
        picture = [side // 2 for side in picture]
    if picture:
        if sizes.get("average"):
            layers.append(nn.AdaptiveAvgPool2d(1))
        layers.append(nn.Flatten())
    flat = channels * (1 if sizes.get("average") else int(np.prod(picture or [1])))
    for wide in sizes.get("hidden", ()):
        layers += [nn.Linear(flat, wide), nn.ReLU()]
        if sizes.get("dropout"):
            layers.append(nn.Dropout(sizes["dropout"]))
        flat = wide
    return nn.Sequential(*layers, nn.Linear(flat, sizes["classes"]))


def stepper(settings: dict[str, Any], variant: dict[str, Any]) -> Callable[[], None]:
    """A training step: forward, cross-entropy, backward, clipping, AdamW; the next batch is cut out of the data."""
    torch.set_num_threads(variant["threads"])
    torch.manual_seed(0)
    sizes, size = settings["model"], settings["batch_size"]
    model = network(settings["case"], sizes).train()
    layout = torch.channels_last if variant["channels_last"] else torch.contiguous_format
    if "data" in settings:
        stored = np.load(settings["data"])
        inputs, labels = torch.from_numpy(stored["inputs"]), torch.from_numpy(stored["label"]).long()
    else:
        shape = (8 * size, sizes["shape"][-1], *sizes["shape"][:-1])
        inputs, labels = torch.randn(shape), torch.randint(0, sizes["classes"], (8 * size,))
    if inputs.ndim == 4:
        inputs, model = inputs.contiguous(memory_format=layout), model.to(memory_format=layout)
    optimizer = torch.optim.AdamW(
        model.parameters(), settings["learning_rate"], weight_decay=0.01, fused=variant["fused"]
    )
    count, place = len(inputs) // size, 0
    order = torch.randperm(len(inputs))

    def step() -> None:
        nonlocal place
        rows = order[place * size : (place + 1) * size]
        place = (place + 1) % count
        loss = nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def rate(settings: dict[str, Any], variant: dict[str, Any]) -> float:
    """Steps a second of a short training."""
    step = stepper(settings, variant)
    for _ in range(WARM):
        step()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < TRIAL:
        step()
        count += 1
    return count / (time.perf_counter() - begin)


def work(turns: Turns, settings: dict[str, Any]) -> None:
    """Find the fastest variant, then train with it, turn by turn."""
    layouts = (False, True) if len(settings["model"]["shape"]) == 3 else (False,)
    variants = {
        f"{threads} threads{', channels last' if last else ''}{', fused AdamW' if fused else ''}": {
            "threads": threads, "channels_last": last, "fused": fused,
        }
        for fused in (False, True)
        for last in layouts
        for threads in settings.get("threads", (1, 2))
    }  # fmt: skip
    name, rates = best(
        {name: (lambda variant=variant: rate(settings, variant)) for name, variant in variants.items()}
    )
    step = stepper(settings, variants[name])
    for _ in range(WARM):
        step()
    turns.ready(variant=name, tried={k: round(v, 2) for k, v in rates.items()}, torch=torch.__version__)
    while True:
        step()
        turns.passed(examples=settings["batch_size"])
