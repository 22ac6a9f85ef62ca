"""Exercises of the lessons 00 to 05: the tour, preprocessing, mathematics, architectures, training, evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

from labkit.course.answers import Exercise, choice, computes, equals, given, holds, reaches
from labkit.i18n import _


def _convolved(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel.shape)
    return (windows * kernel).sum((-1, -2))


def _is_small_cnn(model: Any) -> bool:
    from labkit.models import models

    return (
        isinstance(model, models["cnn"])
        and len(model.widths) >= 3
        and model.replace(input_shape=(28, 28, 1)).count() < 3000
    )


def _cleans(clean: Any) -> bool:
    alike = {
        clean(text) for text in ("Great  FILM!", "ＧＲＥＡＴ film!", "great&nbsp;film!", "<b>Great</b> film!")
    }
    return len(alike) == 1 and clean("not great film!") not in alike


def _reads_odd_digits(predict: Any) -> float:
    from labkit.data.io.load import load

    test = load("digits").split(validation=0.1, test=0.2, seed=0)["test"]
    images = np.asarray(test["image"], float).reshape(-1, 64) / 16
    return float(np.mean((np.ravel(given(predict(images))) > 0.5) == np.asarray(test["label"]) % 2))


def _cheapest(cost_of_false_alarm: float, probability: np.ndarray, truth: np.ndarray) -> float:
    costs = [
        cost_of_false_alarm * ((probability >= at) & ~truth).sum() + ((probability < at) & truth).sum()
        for at in [*probability, np.inf]
    ]
    return float(min(costs))


def _chooses_cheapest(threshold: Any) -> bool:
    """Whether a rule for thresholds costs as little as any, on three sets of made-up probabilities."""
    for seed in range(3):
        random = np.random.default_rng(seed)
        truth = random.random(200) < 0.3
        probability = np.clip(random.normal(0.35 + 0.3 * truth, 0.2), 0, 1).round(3)
        at = given(threshold(probability, truth, 20))
        cost = 20 * ((probability >= at) & ~truth).sum() + ((probability < at) & truth).sum()
        if cost > _cheapest(20, probability, truth):
            return False
    return True


EXERCISES: dict[str, Exercise] = {
    # 00 the tour
    "00.a": Exercise(
        choice("B"),
        _(
            "the class that is always predicted has precision 1/2 and recall 1, so F1 = 2/3; the other has F1 = 0."
        ),
        'prediction = "B"',
    ),
    "00.b": Exercise(
        choice("B"),
        _("the width of the interval shrinks with the square root of the number of test rows."),
        'prediction = "B"',
    ),
    "00.1": Exercise(
        equals(2400),
        _("validation and test together are 20 %; the model is trained on the remaining rows."),
        "answer = 3000 - 2 * 300",
    ),
    "00.2": Exercise(
        computes(((0.9, 0.6, 200), 60), ((0.5, 0.5, 80), 0), ((0.25, 0.5, 100), -25)),
        _("accuracy is a fraction of the rows; multiplied by n it is a number of rows."),
        "def rows_gained(accuracy, baseline, n):\n    return (accuracy - baseline) * n",
    ),
    "00.3": Exercise(
        computes(((["a", "a", "b"],), 0.4), ((["x", "y"],), 1 / 3), ((["x", "y", "z", "z"],), 2 / 9)),
        _("macro-F1 is the mean over all classes; those that are never predicted count, with F1 = 0."),
        "def f1_of_majority(labels):\n"
        "    most = max(set(labels), key=labels.count)\n"
        "    precision, recall = labels.count(most) / len(labels), 1\n"
        "    return 2 * precision * recall / (precision + recall) / len(set(labels))",
    ),
    "00.4": Exercise(
        reaches("f1", 0.75, train_rows=400, validation_rows=200),
        _("start from pretrained weights, train for several epochs, and load enough rows for validation."),
        'rows = lk.load("movie-reviews", min_score=1.0).sample(800, seed=1).split(validation=0.4, test=0.1, seed=1)\n'
        'model = lk.models["bert"](preset="minilm-l6", pooling="mean")\n'
        "mine = lk.fit(rows, model, epochs=4, batch_size=16, max_length=48, learning_rate=1e-4, background=False)",
    ),
    # 01 preprocessing
    "01.a": Exercise(
        choice("B"),
        _("put df = n into the formula: the logarithm of 1 is 0, and the 1 in front of it stays."),
        'prediction = "B"',
    ),
    "01.b": Exercise(
        choice("A"),
        _("each bucket is another shape, and each shape is compiled once."),
        'prediction = "A"',
    ),
    "01.1": Exercise(
        computes(((2, 3, 3), 2.0), ((1, 1, 1000), 7.907755), ((0, 5, 9), 0.0)),
        _("tf times 1 plus the natural logarithm of n / df."),
        "def tfidf(tf, df, n):\n    return tf * (1 + np.log(n / df))",
    ),
    "01.2": Exercise(
        equals(150 / 270, 6e-3),
        _("the batch has 3 x 90 positions, of which 10 + 20 + 90 are tokens and the others padding."),
        "answer = 1 - (10 + 20 + 90) / (3 * 90)",
    ),
    "01.3": Exercise(
        computes(
            ((np.array([[1.0], [3.0]]), np.array([[2.0], [5.0]])), np.array([[0.0], [3.0]])),
            ((np.array([[1.0, 4.0], [3.0, 4.0]]), np.array([[3.0, 4.0]])), np.array([[1.0, 0.0]])),
        ),
        _(
            "use the mean and standard deviation of train per column (axis 0); replace a standard deviation of 0 by 1."
        ),
        "def standardise(train, new):\n"
        "    deviation = train.std(0)\n"
        "    return (new - train.mean(0)) / np.where(deviation == 0, 1, deviation)",
    ),
    "01.4": Exercise(
        computes(
            ((np.array([[1.0], [3.0], [5.0]]), 2), np.array([[-1.0], [1.0], [3.0]])),
            (
                (np.array([[0.0, 2.0], [2.0, 6.0], [9.0, 9.0]]), 2),
                np.array([[-1.0, -1.0], [1.0, 1.0], [8.0, 2.5]]),
            ),
        ),
        _("the mean and the deviation must come from the first n rows alone."),
        "def standardised(X, n):\n    return (X - X[:n].mean(0)) / X[:n].std(0)",
    ),
    "01.5": Exercise(
        holds(
            _cleans,
            _("it does not make the four spellings equal, or it makes one with another meaning equal too."),
        ),
        _(
            "you need steps against HTML, full-width letters, capital letters and repeated spaces; `lk.TextCleaner()` "
            "without arguments lists the default ones, and the error for an unknown step lists all."
        ),
        'mine = lk.TextCleaner(("html", "compat", "lowercase", "whitespace"))',
    ),
    # 02 the mathematics
    "02.a": Exercise(choice("C"), _("the loss is -log(0.01)."), 'prediction = "C"'),
    "02.b": Exercise(
        choice("B"),
        _("equal weights get equal gradients, in every step again."),
        'prediction = "B"',
    ),
    "02.1": Exercise(
        computes(((0.0,), 1.0), ((0.5,), 0.75), ((-0.8,), 0.36)),
        _("the quotient rule gives 1 - ((e^a - e^-a) / (e^a + e^-a))^2."),
        "def slope_of_tanh(h):\n    return 1 - h**2",
    ),
    "02.2": Exercise(
        equals(64 * 32 + 32 + 32 * 10 + 10),
        _("a layer has inputs × neurons weights and one bias per neuron."),
        "answer = 64 * 32 + 32 + 32 * 10 + 10",
    ),
    "02.3": Exercise(
        computes(((1.0, 2.0, 0.5, 0.1, 0.9), 0.77), ((0.0, -1.0, 1.0, 0.5, 0.0), -0.5)),
        _(
            "first the new velocity: mu × old velocity + gradient; then subtract rate × velocity from the weights."
        ),
        "def momentum_step(weights, velocity, gradient, rate, mu):\n"
        "    velocity = mu * velocity + gradient\n"
        "    return weights - rate * velocity",
    ),
    "02.4": Exercise(
        computes(((np.square, 3.0, 1e-3), 6.0), ((np.exp, 0.0, 1e-2), 1.0), ((np.cos, 0.0, 1e-3), 0.0)),
        _("the difference must be taken between w + eps and w - eps: these are 2 eps apart."),
        "def slope_at(f, w, eps):\n    return (f(w + eps) - f(w - eps)) / (2 * eps)",
    ),
    "02.5": Exercise(
        holds(
            lambda predict: _reads_odd_digits(predict) >= 0.97,
            _("its accuracy on the test digits is below 0.97."),
        ),
        _(
            "take more hidden neurons and more steps of Adam: p, losses = train(adam, 0.03, hidden=64, steps=1500)."
        ),
        "p, losses = train(adam, 0.03, hidden=64, steps=1500)\n\n\n"
        "def mine(images):\n    return forward(p, images)[1][:, 0]",
    ),
    # 03 architectures
    "03.a": Exercise(
        choice("A"),
        _("count the weights: 2 × 9 c² against 25 c²."),
        'prediction = "A"',
    ),
    "03.b": Exercise(
        choice("C"),
        _(
            "a convolution applies the same filter at every position, so its feature map moves with the picture."
        ),
        'prediction = "C"',
    ),
    "03.1": Exercise(
        equals((5 * 5 * 3 + 1) * 16),
        _("a filter has a weight for every value in its window, over all channels, and one bias."),
        "answer = (5 * 5 * 3 + 1) * 16",
    ),
    "03.2": Exercise(
        computes(((1,), 3), ((2,), 5), ((5,), 11)),
        _("every further window of 3 sees one pixel more on each side."),
        "def seen(n):\n    return 2 * n + 1",
    ),
    "03.3": Exercise(
        holds(
            _is_small_cnn,
            _("it needs to be a convolutional network of three stages or more and under 3,000 parameters."),
        ),
        _(
            'lk.models["cnn"](widths=(…, …, …), input_shape=(28, 28, 1)).count() counts them; halve the widths.'
        ),
        'model = lk.models["cnn"](widths=(4, 8, 16), input_shape=(28, 28, 1))',
    ),
    "03.4": Exercise(
        computes(
            ((np.arange(9.0).reshape(3, 3), np.ones((2, 2))), np.array([[8.0, 12.0], [20.0, 24.0]])),
            (
                (np.arange(12.0).reshape(3, 4), np.array([[1.0, -1.0]])),
                _convolved(np.arange(12.0).reshape(3, 4), np.array([[1.0, -1.0]])),
            ),
        ),
        _("a window of h rows fits at image height - h + 1 positions."),
        "def convolve(image, kernel):\n"
        "    h, w = kernel.shape\n"
        "    out = np.zeros((image.shape[0] - h + 1, image.shape[1] - w + 1))\n"
        "    for y in range(out.shape[0]):\n"
        "        for x in range(out.shape[1]):\n"
        "            out[y, x] = (image[y : y + h, x : x + w] * kernel).sum()\n"
        "    return out",
    ),
    "03.5": Exercise(
        reaches("accuracy", 0.87, parameters=40_000, validation_rows=1000),
        _("more rows help most: the lesson trains on 4,000 of 60,000."),
        'rows = lk.load("fashion-mnist").sample(12000, seed=0).split(validation=0.1, seed=0)\n'
        'mine = lk.fit(rows, pictures["cnn"], batch_size=32, schedule="one-cycle", background=False,\n'
        '              **settings["cnn"])',
    ),
    # 04 training
    "04.a": Exercise(choice("B"), _("a function is traced once per shape."), 'prediction = "B"'),
    "04.b": Exercise(
        choice("C"),
        _(
            "the network has more than a thousand parameters for every training row: it can memorise them all."
        ),
        'prediction = "C"',
    ),
    "04.1": Exercise(
        equals(96), _("a pass over the rows has 1000 / 32 batches, rounded up."), "answer = 3 * 32"
    ),
    "04.2": Exercise(
        computes(((0, 10, 100), 0.1), ((9, 10, 100), 1.0), ((10, 10, 100), 1.0), ((55, 10, 100), 0.5)),
        _("before `rise` it is (step + 1) / rise; after it (total - step) / (total - rise)."),
        "def factor(step, rise, total):\n"
        "    return (step + 1) / rise if step < rise else (total - step) / (total - rise)",
    ),
    "04.3": Exercise(
        computes(
            (([(32, 64), (32, 64), (16, 64), (32, 64)],), 2),
            (([(8, 8)],), 1),
            (([(1, 2), (2, 1), (1, 2)],), 2),
        ),
        _("a program is kept: a shape that occurred before is not compiled again."),
        "def compilations(shapes):\n    return len(set(shapes))",
    ),
    "04.4": Exercise(
        computes((([3, 2, 2.5, 1, 1.5, 1.6, 0.5], 2), 5), (([3, 2, 1], 2), 2), (([1, 2, 3, 4], 3), 3)),
        _("after a new minimum the evaluations without one are counted from zero."),
        "def stops_at(losses, patience):\n"
        "    best, waited = losses[0], 0\n"
        "    for number, loss in enumerate(losses[1:], 1):\n"
        "        if loss < best:\n"
        "            best, waited = loss, 0\n"
        "        else:\n"
        "            waited += 1\n"
        "        if waited == patience:\n"
        "            return number\n"
        "    return len(losses) - 1",
    ),
    "04.5": Exercise(
        holds(
            lambda run: _last_over_lowest(run) <= 1.05 and _rows(run, "train") <= 250,
            _(
                "its last validation loss is more than 1.05 times its lowest, or it has more than 250 training rows."
            ),
        ),
        _("fewer epochs, a smaller learning rate, `patience`, `weight_decay`, or a narrower network."),
        'mine = lk.fit(few, lk.models["mlp"](widths=(64,), dropout=0.3), batch_size=32, learning_rate=3e-4,\n'
        '              epochs=20, schedule="cosine", weight_decay=0.1, evaluate_every=30, keep="last",\n'
        "              background=False)",
    ),
    # 05 evaluation
    "05.a": Exercise(
        choice("A"),
        _("what is found at a higher threshold is also found at the lower one, never the other way round."),
        'prediction = "A"',
    ),
    "05.b": Exercise(
        choice("B"),
        _("recall and the false positive rate each look at one class alone; precision mixes both."),
        'prediction = "B"',
    ),
    "05.1": Exercise(
        computes(((8, 2, 4), 16 / 22), ((0, 3, 0), 0.0), ((0, 0, 0), 0.0)),
        _("F1 = 2 TP / (2 TP + FP + FN); look out for 0 / 0."),
        "def f1_score(tp, fp, fn):\n    return 2 * tp / max(2 * tp + fp + fn, 1)",
    ),
    "05.2": Exercise(
        equals(0.005 * 0.99 / (0.005 * 0.99 + 0.995 * 0.02), 2e-3),
        _(
            "the formula of section 4, with a share of 1 / 200, a recall of 0.99 and a false positive rate of 0.02."
        ),
        "answer = 0.005 * 0.99 / (0.005 * 0.99 + 0.995 * 0.02)",
    ),
    "05.3": Exercise(
        equals(4500),
        _(
            "the width shrinks with the square root of the number of rows: a third of it needs nine times as many."
        ),
        "answer = 500 * 3**2",
    ),
    "05.4": Exercise(
        computes(
            ((np.array([1.0, 0.5]), np.array([0.5, 1.0])), 2 / 3),
            ((np.array([1.0, 0.0]), np.array([1.0, 0.0])), 0.5),
            ((np.array([0.8, 0.2]), np.array([0.4, 0.6])), (0.64 / 1.2 + 0.24 / 0.8) / 2),
        ),
        _(
            "macro-F1 is the mean of the F1 of each class, not the F1 of the mean precision and the mean recall."
        ),
        "def macro_f1(precision, recall):\n"
        "    both = precision + recall\n"
        "    return np.mean(np.where(both > 0, 2 * precision * recall / np.where(both > 0, both, 1), 0))",
    ),
    "05.5": Exercise(
        holds(_chooses_cheapest, _("another threshold costs less on one of the three sets it was tried on.")),
        _("only the given probabilities, and a number above all of them, need to be tried as thresholds."),
        "def threshold(probability, truth, price):\n"
        "    def cost(at):\n"
        "        found = probability >= at\n"
        "        return price * (found & ~truth).sum() + (~found & truth).sum()\n\n"
        "    return min([*probability, 2.0], key=cost)",
    ),
}


def _last_over_lowest(run: Any) -> float:
    """The last validation loss of a run as a multiple of its lowest."""
    history = run.history
    losses = history[history["split"] == "validation"]["loss"].to_numpy()
    return float(losses[-1] / losses.min())


def _rows(run: Any, split: str) -> int:
    return len(run.rows[split])
