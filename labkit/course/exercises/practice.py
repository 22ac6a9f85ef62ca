"""Exercises of the lessons 11 and 12: the right size, deployment."""

from __future__ import annotations

from typing import Any

import numpy as np

from labkit.course.answers import Exercise, choice, computes, equals, given, holds, names, reaches
from labkit.course.faults import HIDDEN
from labkit.i18n import _


def _keeps_pairs(shuffled: Any) -> bool:
    """Whether rows keep their labels, all of them, in another order."""
    inputs = np.arange(40.0).reshape(20, 2)
    found, labels = given(shuffled(inputs, np.arange(20), 0))
    return (
        sorted(labels) == list(range(20))
        and list(labels) != list(range(20))
        and bool(np.array_equal(found[:, 0], 2.0 * np.asarray(labels)))
    )


EXERCISES: dict[str, Exercise] = {
    # 11 the right size
    "11.a": Exercise(
        choice("B"),
        _("a convolution uses each of its weights again at every position of the picture."),
        'prediction = "B"',
    ),
    "11.b": Exercise(
        choice("A"),
        _("with more slack more models are good enough, and the cheapest of more models costs no more."),
        'prediction = "A"',
    ),
    "11.1": Exercise(
        equals(1.76, 6e-3), _("four numbers a weight, of four bytes each."), "answer = 110e6 * 4 * 4 / 1e9"
    ),
    "11.2": Exercise(
        computes(
            (({"a": 1, "b": 5, "c": 9}, {"a": 0.05, "b": 0.01, "c": 0.0}, 0.02), "b"),
            (({"a": 1, "b": 5, "c": 9}, {"a": 0.05, "b": 0.01, "c": 0.0}, 0.0), "c"),
            (({"a": 7, "b": 5}, {"a": 0.0, "b": 0.0}, 0.0), "b"),
        ),
        _(
            "keep the names that lose no more than is allowed; of these take the one of least cost: "
            "min(names, key=...)."
        ),
        "def choose(cost, behind, allowed):\n"
        "    return min((name for name in cost if behind[name] <= allowed), key=cost.get)",
    ),
    "11.3": Exercise(
        equals(3.15e23 / (0.35 * 125e12) / 3600 / 1e6, 0.05),
        _(
            "6 × 175e9 × 300e9 FLOPs; a GPU computes 0.35 × 125e12 of them a second, and an hour has 3,600 seconds."
        ),
        "answer = 6 * 175e9 * 300e9 / (0.35 * 125e12) / 3600 / 1e6",
    ),
    "11.4": Exercise(
        computes(
            (({"a": (1, 0.7), "b": (2, 0.8), "c": (3, 0.75)},), {"a", "b"}),
            (({"a": (1, 0.9), "b": (2, 0.8)},), {"a"}),
            (({"a": (1, 0.5), "b": (4, 0.6), "c": (9, 0.7)},), {"a", "b", "c"}),
        ),
        _("a model is beaten by one that is better in one of the two and no worse in the other."),
        "def pareto_front(models):\n"
        "    def beats(one, other):\n"
        "        return one[0] <= other[0] and one[1] >= other[1] and one != other\n\n"
        "    return {name for name, mine in models.items() if not any(beats(one, mine) for one in models.values())}",
    ),
    # 12 from lab to use
    "12.a": Exercise(
        choice("A"), _("401 is the status of a missing or wrong authentication."), 'prediction = "A"'
    ),
    "12.b": Exercise(
        choice("B"),
        _("the order of the batches, the dropout and the initial weights follow from the seed in the file."),
        'prediction = "B"',
    ),
    "12.1": Exercise(
        computes(((0, 0), True), ((9, 199), True), ((10, 50), False), ((0, 200), False)),
        _("both limits must hold: fewer than 10 of this client, and fewer than 200 of all."),
        "def may_pass(of_client, of_all):\n    return of_client < 10 and of_all < 200",
    ),
    "12.2": Exercise(
        equals(422), _("the token is right, so it is not 401; see the table of section 4."), "answer = 422"
    ),
    "12.3": Exercise(
        equals(64 * 32),
        _("letter by letter, at most 64 tries for each of the 32; not 64 to the power of 32."),
        "answer = 64 * 32",
    ),
    "12.4": Exercise(
        computes(
            (([float(n) for n in range(1, 101)],), 96.0),
            (([3.0, 1.0, 2.0],), 3.0),
            (([5.0] * 19 + [9.0],), 9.0),
        ),
        _("look at the brackets: int(0.95) is 0, so this is always the fastest answer."),
        "def p95(seconds):\n    return sorted(seconds)[int(0.95 * len(seconds))]",
    ),
    # 13 when training goes wrong
    "13.a": Exercise(
        choice("B"),
        _("the first loss is near the logarithm of the number of classes: log 100."),
        'prediction = "B"',
    ),
    "13.b": Exercise(
        choice("B"),
        _("the loss can only fall by memorising, and what was memorised says nothing about other rows."),
        'prediction = "B"',
    ),
    "13.1": Exercise(
        names(HIDDEN),
        _(
            "if the training loss falls, the rate is right; the validation accuracy and section 3 show the others."
        ),
        f"answer = {HIDDEN!r}",
    ),
    "13.2": Exercise(
        computes(
            ((np.array([0.5, 0.5]),), np.log([2.0, 2.0])),
            ((np.array([0.9, 0.1]),), np.array([np.log(2), -0.9 * np.log(0.9) - 0.1 * np.log(0.1)])),
            ((np.array([0.25, 0.25, 0.5]),), np.array([np.log(3), 1.5 * np.log(2)])),
        ),
        _("uniform outputs give the logarithm of the number of classes, the frequencies give their entropy."),
        "def first_losses(frequencies):\n"
        "    return np.array([np.log(len(frequencies)), -np.sum(frequencies * np.log(frequencies))])",
    ),
    "13.3": Exercise(
        holds(_keeps_pairs, _("a row does not keep its label, or rows are lost.")),
        _("both arrays must be put in the same order: draw one permutation."),
        "def shuffled(inputs, labels, seed):\n"
        "    order = np.random.default_rng(seed).permutation(len(inputs))\n"
        "    return inputs[order], labels[order]",
    ),
    "13.4": Exercise(
        reaches("accuracy", 0.88, train_rows=300, validation_rows=300),
        _(
            "take 300 rows instead of 60, and stop before the validation loss rises; a small weight decay helps too."
        ),
        'rows = digits.with_splits({**digits.splits, "train": digits["train"].select(range(300))})\n'
        'mine = lk.fit(rows, lk.models["mlp"](widths=(64,)), epochs=30, batch_size=32, learning_rate=3e-3,\n'
        "              background=False)",
    ),
}
