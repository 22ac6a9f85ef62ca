"""The exercises of the course, by lesson and exercise number; checked by :func:`labkit.check`."""

from __future__ import annotations

import numpy as np

from labkit.course.answers import Exercise, computes, equals, holds
from labkit.i18n import _


def _softmax(x: np.ndarray) -> np.ndarray:
    odds = np.exp(x - x.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def _attended(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


_Q, _K, _V = np.random.default_rng(6).normal(size=(3, 3, 4)).round(2)

EXERCISES: dict[str, Exercise] = {
    # 00 the tour
    "00.1": Exercise(
        equals(2400),
        _("validation and test together are 20 %; the model is trained on the remaining rows."),
    ),
    "00.2": Exercise(
        computes(((0.9, 0.6, 200), 60), ((0.5, 0.5, 80), 0), ((0.25, 0.5, 100), -25)),
        _("accuracy is a fraction of the rows; multiplied by n it is a number of rows."),
    ),
    # 01 preprocessing
    "01.1": Exercise(
        computes(((2, 3, 3), 2.0), ((1, 1, 1000), 7.907755), ((0, 5, 9), 0.0)),
        _("tf times 1 plus the natural logarithm of n / df."),
    ),
    "01.2": Exercise(
        equals(150 / 270, 6e-3),
        _("the batch has 3 x 90 positions, of which 10 + 20 + 90 are tokens and the others padding."),
    ),
    "01.3": Exercise(
        computes(
            ((np.array([[1.0], [3.0]]), np.array([[2.0], [5.0]])), np.array([[0.0], [3.0]])),
            ((np.array([[1.0, 4.0], [3.0, 4.0]]), np.array([[3.0, 4.0]])), np.array([[1.0, 0.0]])),
        ),
        _(
            "use the mean and standard deviation of train per column (axis 0); replace a standard deviation of 0 by 1."
        ),
    ),
    # 02 the mathematics
    "02.1": Exercise(
        computes(((0.0,), 1.0), ((0.5,), 0.75), ((-0.8,), 0.36)),
        _("the quotient rule gives 1 - ((e^a - e^-a) / (e^a + e^-a))^2."),
    ),
    "02.2": Exercise(
        equals(64 * 32 + 32 + 32 * 10 + 10),
        _("a layer has inputs × neurons weights and one bias per neuron."),
    ),
    "02.3": Exercise(
        computes(((1.0, 2.0, 0.5, 0.1, 0.9), 0.77), ((0.0, -1.0, 1.0, 0.5, 0.0), -0.5)),
        _(
            "first the new velocity: mu × old velocity + gradient; then subtract rate × velocity from the weights."
        ),
    ),
    # 03 architectures
    "03.1": Exercise(
        equals((5 * 5 * 3 + 1) * 16),
        "a filter has a weight for every value in its window, over all channels, and one bias.",
    ),
    "03.2": Exercise(
        computes(((1,), 3), ((2,), 5), ((5,), 11)),
        "every further window of 3 sees one pixel more on each side.",
    ),
    "03.3": Exercise(
        holds(
            lambda model: len(model.widths) >= 3 and model.replace(input_shape=(28, 28, 1)).count() < 3000,
            "it needs three stages or more, and fewer than 3,000 parameters.",
        ),
        'lk.models["cnn"](widths=(…, …, …), input_shape=(28, 28, 1)).count() counts them; halve the widths.',
    ),
    # 04 training
    "04.1": Exercise(equals(96), "a pass over the rows has 1000 / 32 batches, rounded up."),
    "04.2": Exercise(
        computes(((0, 10, 100), 0.1), ((9, 10, 100), 1.0), ((10, 10, 100), 1.0), ((55, 10, 100), 0.5)),
        "before `rise` it is (step + 1) / rise; after it (total - step) / (total - rise).",
    ),
    "04.3": Exercise(
        computes(
            (([(32, 64), (32, 64), (16, 64), (32, 64)],), 2),
            (([(8, 8)],), 1),
            (([(1, 2), (2, 1), (1, 2)],), 2),
        ),
        "a program is kept: a shape that was there before is not compiled again.",
    ),
    # 05 evaluation
    "05.1": Exercise(
        computes(((8, 2, 4), 16 / 22), ((0, 3, 0), 0.0), ((0, 0, 0), 0.0)),
        "F1 = 2 TP / (2 TP + FP + FN); look out for 0 / 0.",
    ),
    "05.2": Exercise(
        equals(0.005 * 0.99 / (0.005 * 0.99 + 0.995 * 0.02), 2e-3),
        "the formula of section 4, with a share of 1 / 200, a recall of 0.99 and false alarms of 0.02.",
    ),
    "05.3": Exercise(
        equals(4500), "the width shrinks with the root of the rows: a third of it needs nine times as many."
    ),
    # 06 attention and BERT
    "06.1": Exercise(
        computes(((_Q, _K, _V), _attended(_Q, _K, _V))),
        _("scores are q @ k.T / sqrt(d); apply a softmax to each row; then multiply by v."),
    ),
    "06.2": Exercise(
        equals(4 * (384 * 384 + 384) + (384 * 1536 + 1536) + (1536 * 384 + 384) + 2 * 2 * 384),
        _("query, key, value and out are 384 x 384 with a bias each; a norm has a scale and a bias of 384."),
    ),
    "06.3": Exercise(
        computes(
            ((_Q, _K, _V, [True, True, True]), _attended(_Q, _K, _V)),
            ((_Q, _K, _V, [True, True, False]), _attended(_Q, _K[:2], _V[:2])),
        ),
        _("before the softmax, the scores in the columns of padding must be minus infinity."),
    ),
    # 07 pretraining
    "07.1": Exercise(
        equals(400 * 0.15 * 0.8),
        _("a fraction of 0.15 of the tokens is selected, and 0.8 of these become [MASK]."),
    ),
    "07.2": Exercise(
        computes((([2.0],), float(np.exp(2.0))), (([1.0, 3.0],), float(np.exp(2.0))), (([0.0, 0.0],), 1.0)),
        _("take the mean of the losses first, then the exponential; not the other way round."),
    ),
    "07.3": Exercise(
        computes(
            ((["he", "token", "##ize", "##s"], [False, True, False, False]), [0, 1, 1, 1]),
            ((["un", "##do", "it"], [False, True, True]), [0, 0, 1]),
            ((["a", "##b", "c", "##d"], [True, False, False, True]), [1, 1, 0, 0]),
        ),
        _(
            "go through the tokens in order; a continuation token (##) gets the decision of the first "
            "token of its word."
        ),
    ),
    # 08 fine-tuning
    "08.1": Exercise(
        computes(((384, 384, 8), 6144), ((768, 3072, 4), 15360), ((10, 20, 1), 30)),
        _("the update is the product of an n x r and an r x m matrix."),
    ),
    "08.2": Exercise(
        computes(
            (([[1.0, 0.0], [0.0, 1.0]], [[1.0], [2.0]], [[3.0, 4.0]], 2.0), [[7.0, 8.0], [12.0, 17.0]]),
            (([[1.0, 2.0]], [[0.5]], [[2.0, 0.0]], 1.0), [[2.0, 2.0]]),
        ),
        _("the merged kernel is kernel + scale times a @ b."),
    ),
    # 09 question answering
    "09.1": Exercise(
        computes(
            (("the old mill", "old mill"), 1.0),
            (("in the old mill", "old mill"), 0.8),
            (("harbour", "old mill"), 0.0),
            (("mill mill", "old mill"), 0.5),
        ),
        _("remove articles; count common words with multiplicity; F1 = 2 · common / (length + length)."),
    ),
    "09.2": Exercise(
        computes(
            (([0.0, 2.0, 1.0], [0.0, 1.0, 3.0]), (1, 2)),
            (([1.0, 5.5], [4.0, 0.0]), (1, 1)),
            (([3.0, 0.0, 1.0], [0.0, 1.0, 0.5]), (0, 1)),
        ),
        _("try all pairs of start and end with end ≥ start; the largest sum wins."),
    ),
    # 10 GPT
    "10.1": Exercise(
        computes(
            (([2.0, 1.0, 0.0], 1.0), _softmax(np.array([2.0, 1.0, 0.0]))),
            (([2.0, 1.0, 0.0], 0.5), _softmax(np.array([4.0, 2.0, 0.0]))),
        ),
        _("divide the scores by the temperature, then take the softmax."),
    ),
    "10.2": Exercise(
        computes(
            (([0.5, 0.3, 0.15, 0.05], 0.7), [0, 1]),
            (([0.1, 0.6, 0.3], 0.5), [1]),
            (([0.25, 0.25, 0.4, 0.1], 0.65), [0, 2]),
        ),
        _(
            "sort by probability and take tokens until their sum reaches p, including the one that reaches it."
        ),
    ),
    "10.3": Exercise(
        equals(round(2 * 30 * 3 * 64 * 2048 * 2 / 2**20)),
        _("keys and values (2), per layer, per key-value head, 64 numbers of 2 bytes, per position."),
    ),
    # 11 the right size
    "11.1": Exercise(equals(1.76, 6e-3), "four numbers a weight, of four bytes each."),
    "11.2": Exercise(
        computes(
            (({"a": 1, "b": 5, "c": 9}, {"a": 0.05, "b": 0.01, "c": 0.0}, 0.02), "b"),
            (({"a": 1, "b": 5, "c": 9}, {"a": 0.05, "b": 0.01, "c": 0.0}, 0.0), "c"),
            (({"a": 7, "b": 5}, {"a": 0.0, "b": 0.0}, 0.0), "b"),
        ),
        "keep the names that lose no more than is allowed; of these take the one of least cost: min(names, key=...).",
    ),
    # 12 from lab to use
    "12.1": Exercise(
        computes(((0, 0), True), ((9, 199), True), ((10, 50), False), ((0, 200), False)),
        "both limits must hold: fewer than 10 of this client, and fewer than 200 of all.",
    ),
    "12.2": Exercise(equals(422), "it is let in, so it is not 401; the table of section 4 says the rest."),
    "12.3": Exercise(
        equals(64 * 32, 0.5),
        "letter by letter, at most 64 tries for each of the 32; not 64 to the power of 32.",
    ),
}
