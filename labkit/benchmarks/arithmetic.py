"""FLOPs of a training step: required by the model and executed by XLA. Independent of timing."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
from flax import nnx

from labkit.train.context import shapes_of, steps_of

from . import cases


def of_bert(model: Any, classes: int, lengths: np.ndarray) -> float:
    """Floating-point operations that training a BERT on examples of these lengths needs, once each.

    Twice the multiply-adds of all products of matrices, on real tokens only, attention at the true length of every
    example; forward, and twice that backward. Norms, softmax, dropout and the optimizer are not counted.

    Args:
        model: with ``depth``, ``width``, ``mlp_width``, ``pooling``.
        classes: outputs of the head.
        lengths: tokens of every example.
    """
    lengths, d = np.asarray(lengths, np.float64), model.width
    tokens, examples = lengths.sum(), len(lengths)
    layer = tokens * (4 * d * d + 2 * d * model.mlp_width) + 2 * d * np.square(lengths).sum()
    head = examples * ((d * d if model.pooling == "cls" else 0) + d * classes)
    return float(3 * 2 * (model.depth * layer + head))


def lengths_of(batch: dict[str, np.ndarray]) -> np.ndarray:
    """Tokens of every real example of a batch."""
    if "segment" not in batch:
        return batch["mask"].sum(axis=1)[batch["index"] >= 0]
    places = batch["start"].shape[1]
    counts = [(batch["segment"] == place + 1).sum(axis=1) for place in range(places)]
    return np.stack(counts, axis=1)[batch["index"] >= 0]


def per_token() -> dict[str, Any]:
    """XLA's operations per real token ÷ the model's own, over an epoch of the film reviews.

    XLA counts the body of a loop once, so the step is analysed with all layers unrolled. Nothing is compiled.
    """
    with cases.prepared("bert") as setup:
        experiment, batches = setup.experiment, setup.batches
        model = experiment.model.replace(unroll=experiment.model.depth)
        module = nnx.eval_shape(lambda: setup.head.init(model, nnx.Rngs(0)))
        steps = steps_of(experiment.replace(model=model), setup.head, module, batches)
        state = steps.abstract_state()
        cost = {}
        for shapes in shapes_of(batches, steps):
            lowered = steps.lower("train", state, shapes)
            cost[tuple(shapes["ids"].shape)] = lowered.cost_analysis()["flops"]
        seen: collections.Counter[tuple[int, ...]] = collections.Counter()
        tokens = own = 0.0
        for batch in batches:
            lengths = lengths_of(batch)
            seen[cases.width(batch)] += 1
            tokens += lengths.sum()
            own += of_bert(model, len(setup.head.classes), lengths)
    xla = sum(cost[shape] * count for shape, count in seen.items())
    return {
        "value": xla / own,
        "xla_per_token": xla / tokens,
        "own_per_token": own / tokens,
        "shapes": {" × ".join(map(str, shape)): count for shape, count in seen.items()},
    }


def padding() -> dict[str, Any]:
    """Share of the places of an epoch of the film reviews that hold no token."""
    with cases.prepared("bert") as setup:
        return {
            "value": setup.batches.padding_share,
            "shapes": [list(shape) for shape in setup.batches.shapes],
            "layout": setup.summary.get("layout", ""),
        }
