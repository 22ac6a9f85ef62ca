"""Exercises of the lessons from 14 on: the problem, search, privacy and fairness, health data, pretrained pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from labkit.course.answers import Exercise, choice, computes, equals, given, holds
from labkit.i18n import _

#: Feature maps [y, x, k] of an exercise.
_MAPS = np.array([[[1.0, 2.0], [3.0, -4.0]], [[0.5, 1.0], [-1.0, 2.0]]])
_YES, _NO = np.array([True, True, False, False]), np.array([True, False, True, False])


def _fills_by_training(filled: Any) -> bool:
    """Whether gaps of both splits get the mean of the training rows."""
    train, test = given(filled(np.array([1.0, np.nan, 3.0]), np.array([np.nan, 11.0])))
    return bool(np.allclose(train, [1, 2, 3]) and np.allclose(test, [2, 11]))


def _flips_alike(flipped: Any) -> bool:
    """Whether a picture and its mask are both mirrored left to right."""
    mask = np.arange(6).reshape(2, 3)
    picture, found = given(flipped(np.repeat(mask[..., None], 3, -1), mask))
    return bool(np.array_equal(found, mask[:, ::-1]) and np.array_equal(picture[..., 0], mask[:, ::-1]))


EXERCISES: dict[str, Exercise] = {
    # 14 choose the problem first
    "14.a": Exercise(
        choice("B"),
        _("half of the reviews at 1 each cost less than the other half at 8 each."),
        'prediction = "B"',
    ),
    "14.b": Exercise(choice("C"), _("1 / (1 + 8): the cost of both mistakes counts."), 'prediction = "C"'),
    "14.1": Exercise(
        computes(((1, 8), 1 / 9), ((1, 1), 0.5), ((3, 1), 0.75)),
        _("act where p · missed exceeds (1 − p) · false alarm, and solve for p."),
        "def threshold(false_alarm, missed):\n    return false_alarm / (false_alarm + missed)",
    ),
    "14.2": Exercise(
        equals(600),
        _("only what is saved beyond the running costs pays for the project."),
        "answer = 30000 / (60 - 10)",
    ),
    "14.3": Exercise(
        computes(((0.5, 1, 8), 0.5), ((0.1, 1, 8), 0.8), ((0.02, 1, 8), 0.16)),
        _("a perfect model costs nothing, so it saves what the cheaper of both ways costs."),
        "def most_to_save(share, read, missed):\n    return min(share * missed, (1 - share) * read)",
    ),
    "14.4": Exercise(
        computes(
            ((_YES, _NO, 1, 8), 0.25 + 2),
            ((np.ones(4, bool), _NO, 1, 8), 0.5),
            ((np.zeros(4, bool), _NO, 1, 8), 4.0),
        ),
        _("reading costs something only where it was for nothing: the customer was happy."),
        "def mean_cost(acted, angry, read, missed):\n"
        "    return (read * (acted & ~angry) + missed * (~acted & angry)).mean()",
    ),
    # 15 search
    "15.a": Exercise(
        choice("B"),
        _("from 1 / 2.5 to 10 / 11.5: a factor of 2.2, and never more than 1 + 1.5."),
        'prediction = "B"',
    ),
    "15.b": Exercise(choice("B"), _("1 / log₂ 4 = 1/2, and the best order has 1."), 'prediction = "B"'),
    "15.1": Exercise(
        computes((([4, 7, 1], [7, 9], 2), 0.5), (([4, 7, 1], [1, 4], 3), 1.0), (([2], [3], 1), 0.0)),
        _("count the relevant places among the first k, and divide by the number of relevant ones."),
        "def recall(found, relevant, k):\n    return len(set(found[:k]) & set(relevant)) / len(relevant)",
    ),
    "15.2": Exercise(
        computes((([1, 2, 3], [3, 1]), [1, 3, 2]), (([5], [4]), [4, 5]), (([9, 8], []), [9, 8])),
        _("add 1 / (60 + rank) for each list in which a place occurs; sort by (−score, place)."),
        "def fused(one, other):\n"
        "    score = {}\n"
        "    for ranking in (one, other):\n"
        "        for rank, place in enumerate(ranking, 1):\n"
        "            score[place] = score.get(place, 0) + 1 / (60 + rank)\n"
        "    return sorted(score, key=lambda place: (-score[place], place))",
    ),
    "15.3": Exercise(
        equals(768, 0.5),
        _("passages × numbers × bytes, divided by 10⁶."),
        "answer = 1_000_000 * 384 * 2 / 1e6",
    ),
    "15.4": Exercise(
        computes(
            ((np.array([1.0, 0.0]), np.array([[2.0, 0.0], [0.0, 3.0]])), np.array([1.0, 0.0])),
            ((np.array([3.0, 4.0]), np.array([[4.0, 3.0]])), np.array([0.96])),
        ),
        _("a cosine divides by the lengths of both vectors: of the query, and of each row."),
        "def cosines(query, vectors):\n"
        "    return vectors @ query / np.linalg.norm(query) / np.linalg.norm(vectors, axis=1)",
    ),
    # 16 privacy and fairness
    "16.a": Exercise(
        choice("A"),
        _(
            "what was memorised has a smaller loss than what is new; a model that has only learned what is common "
            "to all rows has no such gap."
        ),
        'prediction = "A"',
    ),
    "16.b": Exercise(
        choice("C"),
        _("other columns, such as hours a week, differ between the groups and carry the difference over."),
        'prediction = "C"',
    ),
    "16.1": Exercise(
        computes(
            ((_YES, np.array(["a", "a", "b", "b"])), 1.0),
            ((_NO, np.array(["a", "a", "b", "b"])), 0.0),
            ((_NO, np.array(["a", "b", "b", "c"])), 1.0),
        ),
        _("the mean of the booleans of each group is its selection rate; np.unique lists the groups."),
        "def parity_difference(selected, groups):\n"
        "    rates = [selected[groups == group].mean() for group in np.unique(groups)]\n"
        "    return max(rates) - min(rates)",
    ),
    "16.2": Exercise(
        computes(
            (({"a": 0.5, "b": 0.39},), True),
            (({"a": 0.5, "b": 0.41},), False),
            (({"a": 0.2, "b": 0.3, "c": 0.25},), True),
        ),
        _("divide the smallest rate by the largest."),
        "def suspect(rates):\n    return min(rates.values()) / max(rates.values()) < 0.8",
    ),
    "16.3": Exercise(equals(8), _("what is revealed adds up."), "answer = 2 + 2 + 4"),
    "16.4": Exercise(
        computes(
            ((_YES, _NO, np.array(["a", "a", "b", "b"]), ("a", "b")), 1.0),
            ((_YES, np.ones(4, bool), np.array(["a", "b", "a", "b"]), ("a", "b")), 0.0),
            ((_NO, np.ones(4, bool), np.array(["a", "a", "a", "b"]), ("a", "b")), 2 / 3),
        ),
        _("choose the rows of the group that should be selected: their truth, not their selection."),
        "def opportunity_gap(selected, truth, groups, pair):\n"
        "    one, other = (selected[(groups == name) & truth].mean() for name in pair)\n"
        "    return one - other",
    ),
    # 17 tables and health
    "17.a": Exercise(
        choice("A"),
        _("it has learned how frequent the disease is where it was trained."),
        'prediction = "A"',
    ),
    "17.b": Exercise(
        choice("A"), _("nobody is found and nobody is treated needlessly: 0 less 0."), 'prediction = "A"'
    ),
    "17.1": Exercise(
        computes(
            ((["b", "a"], ["a", "b"]), np.array([[0, 1], [1, 0]])),
            ((["c", None, "a"], ["a", "b"]), np.array([[0, 0], [0, 0], [1, 0]])),
        ),
        _("compare every value with every category; a comparison is 1 where it holds."),
        "def one_hot(values, categories):\n"
        "    return np.array([[float(value == each) for each in categories] for value in values])",
    ),
    "17.2": Exercise(
        computes(((30, 20, 100, 0.5), 0.1), ((30, 20, 100, 0.2), 0.25), ((0, 0, 50, 0.3), 0.0)),
        _("TP / n less FP / n times t / (1 − t)."),
        "def benefit(tp, fp, n, t):\n    return tp / n - fp / n * t / (1 - t)",
    ),
    "17.3": Exercise(
        equals(9 / 108, 6e-4),
        _("9 of the sick have an alarm, and 99 of the 990 healthy."),
        "answer = 9 / (9 + 99)",
    ),
    "17.4": Exercise(
        holds(
            _fills_by_training, _("the value that fills the gaps depends on the test rows, or a gap is left.")
        ),
        _("the mean must be that of the training rows alone, for both."),
        "def filled(train, test):\n"
        "    mean = np.nanmean(train)\n"
        "    return np.where(np.isnan(train), mean, train), np.where(np.isnan(test), mean, test)",
    ),
    # 18 pictures II
    "18.a": Exercise(
        choice("B"),
        _("a mirrored 2 is no digit; a digit that is moved by a pixel is the same one."),
        'prediction = "B"',
    ),
    "18.b": Exercise(
        choice("B"),
        _("what global max pooling discards, the position, helps where every digit is in the centre."),
        'prediction = "B"',
    ),
    "18.c": Exercise(
        choice("B"), _("the IoU of the ground is 0.86, that of the houses 0."), 'prediction = "B"'
    ),
    "18.1": Exercise(
        computes(
            ((_YES, _NO), 0.5), ((_YES, _YES), 1.0), ((_YES, np.array([True, False, False, False])), 2 / 3)
        ),
        _("(guess & truth).sum() counts the common pixels."),
        "def dice(guess, truth):\n    return 2 * (guess & truth).sum() / (guess.sum() + truth.sum())",
    ),
    "18.2": Exercise(
        equals(4640),
        _("a filter of 3 × 3 × 16 weights and a bias for each of the 32 channels."),
        "answer = (3 * 3 * 16 + 1) * 32",
    ),
    "18.3": Exercise(
        computes(
            ((_MAPS, np.ones((2, 2, 2))), _MAPS.sum(-1).clip(0)),
            ((_MAPS, np.stack([np.eye(2), -2 * np.eye(2)], -1)), (_MAPS[..., 0] / 2 - _MAPS[..., 1]).clip(0)),
        ),
        _("the weight of a map is the mean of its gradient over both places; negative sums become 0."),
        "def grad_cam(maps, gradient):\n    return np.maximum((maps * gradient.mean((0, 1))).sum(-1), 0)",
    ),
    "18.4": Exercise(
        holds(_flips_alike, _("a pixel of the mask no longer belongs to the pixel of the picture.")),
        _("the axis of the columns is the second one, of both."),
        "def flipped(picture, mask):\n    return picture[:, ::-1], mask[:, ::-1]",
    ),
}
