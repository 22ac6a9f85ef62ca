"""Exercises of the lessons 06 to 10: attention, pretraining, fine-tuning, question answering, GPT."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from labkit.course.answers import Exercise, choice, computes, equals, holds
from labkit.i18n import _


def _softmax(x: np.ndarray) -> np.ndarray:
    odds = np.exp(x - x.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def _attended(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


def _normalised(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * scale + bias


def _alike_without_a_common_word(sentences: Any) -> bool:
    """Whether two sentences share no word and yet have similar vectors."""
    from labkit.inference.embedding import EmbeddingPipeline

    first, second = sentences
    words = [set(re.findall(r"\w+", text.lower())) for text in (first, second)]
    if min(map(len, words)) < 3 or words[0] & words[1]:
        return False
    return bool(EmbeddingPipeline("minilm-l6").similarity([first, second])[0, 1] > 0.6)


_Q, _K, _V = np.random.default_rng(6).normal(size=(3, 3, 4)).round(2)
_RIGHT = np.array([True, True, False, True] * 10)

EXERCISES: dict[str, Exercise] = {
    # 06 attention and BERT
    "06.a": Exercise(
        choice("B"), _("the variance is d, so the standard deviation is its square root."), 'prediction = "B"'
    ),
    "06.b": Exercise(
        choice("A"),
        _("attention takes weighted sums, and a sum does not depend on the order of its terms."),
        'prediction = "A"',
    ),
    "06.1": Exercise(
        computes(((_Q, _K, _V), _attended(_Q, _K, _V))),
        _("scores are q @ k.T / sqrt(d); apply a softmax to each row; then multiply by v."),
        "def head(q, k, v):\n    return softmax(q @ k.T / np.sqrt(q.shape[1]), axis=-1) @ v",
    ),
    "06.2": Exercise(
        equals(4 * (384 * 384 + 384) + (384 * 1536 + 1536) + (1536 * 384 + 384) + 2 * 2 * 384),
        _("query, key, value and out are 384 x 384 with a bias each; a norm has a scale and a bias of 384."),
        "answer = 4 * (384 * 384 + 384) + (384 * 1536 + 1536) + (1536 * 384 + 384) + 2 * 2 * 384",
    ),
    "06.3": Exercise(
        computes(
            ((_Q, _K, _V, np.array([True, True, True])), _attended(_Q, _K, _V)),
            ((_Q, _K, _V, np.array([True, True, False])), _attended(_Q, _K[:2], _V[:2])),
        ),
        _("before the softmax, the scores in the columns of padding must be minus infinity."),
        "def masked_head(q, k, v, real):\n"
        "    scores = q @ k.T / np.sqrt(q.shape[1])\n"
        "    return softmax(np.where(real, scores, -np.inf), axis=-1) @ v",
    ),
    "06.4": Exercise(
        computes(
            ((_Q, np.ones(4), np.zeros(4)), _normalised(_Q, np.ones(4), np.zeros(4))),
            (
                (_K, np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4)),
                _normalised(_K, np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4)),
            ),
        ),
        _("layer normalisation works within each token: over the last axis, not over the tokens."),
        "def layer_norm(x, scale, bias, eps=1e-12):\n"
        "    x = x - x.mean(-1, keepdims=True)\n"
        "    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * scale + bias",
    ),
    "06.5": Exercise(
        holds(
            _alike_without_a_common_word,
            _("the two sentences share a word, have fewer than three words, or their cosine is 0.6 or less."),
        ),
        _("describe the same event twice with synonyms: a doctor and a physician, a car and an automobile."),
        'sentences = ("A physician treats sick people.", "The doctor cures ill patients.")',
    ),
    # 07 pretraining
    "07.a": Exercise(
        choice("B"),
        _("of the selected tokens four fifths become [MASK], a tenth a random token, and the others stay."),
        'prediction = "B"',
    ),
    "07.b": Exercise(
        choice("B"),
        _("the mean of -log p, when p is the frequency of each token, is the entropy of the frequencies."),
        'prediction = "B"',
    ),
    "07.1": Exercise(
        equals(400 * 0.15 * 0.8),
        _("a fraction of 0.15 of the tokens is selected, and 0.8 of these become [MASK]."),
        "answer = 400 * 0.15 * 0.8",
    ),
    "07.2": Exercise(
        computes(
            ((np.array([2.0]),), float(np.exp(2.0))),
            ((np.array([1.0, 3.0]),), float(np.exp(2.0))),
            ((np.array([0.0, 0.0]),), 1.0),
        ),
        _("take the mean of the losses first, then the exponential; not the other way round."),
        "def perplexity(losses):\n    return np.exp(np.mean(losses))",
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
        "def whole_words(names, drawn):\n"
        "    masked = []\n"
        "    for name, mine in zip(names, drawn):\n"
        '        masked.append(masked[-1] if name.startswith("##") and masked else mine)\n'
        "    return masked",
    ),
    "07.4": Exercise(
        computes(
            ((np.array([1, 2, 3, 4]), np.array([1, 9, 9, 4]), np.array([False, True, False, True])), 0.5),
            ((np.array([5, 6, 7]), np.array([5, 6, 0]), np.array([True, False, False])), 1.0),
        ),
        _("only the selected positions count; the others were visible."),
        "def accuracy(predicted, ids, chosen):\n    return (predicted == ids)[chosen].mean()",
    ),
    # 08 fine-tuning
    "08.a": Exercise(
        choice("B"),
        _("B is zero, so the update A B is zero, and every matrix is the pretrained one."),
        'prediction = "B"',
    ),
    "08.b": Exercise(
        choice("B"),
        _("a network with random embeddings and word counts only know the words of these few rows."),
        'prediction = "B"',
    ),
    "08.1": Exercise(
        computes(((384, 384, 8), 6144), ((768, 3072, 4), 15360), ((10, 20, 1), 30)),
        _("the update is the product of an n x r and an r x m matrix."),
        "def added(n, m, r):\n    return r * (n + m)",
    ),
    "08.2": Exercise(
        computes(
            (
                (np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0], [2.0]]), np.array([[3.0, 4.0]]), 2.0),
                np.array([[7.0, 8.0], [12.0, 17.0]]),
            ),
            (
                (np.array([[1.0, 2.0]]), np.array([[0.5]]), np.array([[2.0, 0.0]]), 1.0),
                np.array([[2.0, 2.0]]),
            ),
        ),
        _("the merged kernel is kernel + scale times a @ b."),
        "def merged(kernel, a, b, scale):\n    return kernel + scale * a @ b",
    ),
    "08.3": Exercise(
        holds(
            lambda run: (
                run.info.summary["trainable"] < 0.01 * run.info.summary["parameters"]
                and run.evaluate("validation", baselines=False).scores["f1"] >= 0.6
            ),
            _("it trains a hundredth of the parameters or more, or its F1 on validation rows is below 0.6."),
        ),
        _('trainable="bitfit" with a learning rate near 2e-3 and more epochs than full fine-tuning.'),
        'mine = lk.fit(rows, model, name="bitfit", trainable="bitfit", learning_rate=3e-3, epochs=4,\n'
        "              background=False, **usual)",
    ),
    "08.4": Exercise(
        computes(
            ((_RIGHT, _RIGHT), np.array([0.0, 0.0])),
            ((np.ones(40), np.zeros(40)), np.array([1.0, 1.0])),
        ),
        _("both models are scored on the same drawn rows: the rows of a and of b must be drawn together."),
        "def gain_interval(a, b, draws=1000):\n"
        "    random = np.random.default_rng(0)\n"
        "    gains = []\n"
        "    for _ in range(draws):\n"
        "        rows = random.integers(0, len(a), len(a))\n"
        "        gains.append(a[rows].mean() - b[rows].mean())\n"
        "    return np.percentile(gains, [2.5, 97.5])",
    ),
    # 09 question answering
    "09.a": Exercise(
        choice("A"),
        _("nothing ties the best start to the best end: either may be anywhere."),
        'prediction = "A"',
    ),
    "09.b": Exercise(
        choice("A"),
        _("of two predicted words one is right (precision 1/2), and the one right word is found (recall 1)."),
        'prediction = "A"',
    ),
    "09.1": Exercise(
        computes(
            (("the old mill", "old mill"), 1.0),
            (("in the old mill", "old mill"), 0.8),
            (("harbour", "old mill"), 0.0),
            (("mill mill", "old mill"), 0.5),
        ),
        _("remove articles; count common words with multiplicity; F1 = 2 · common / (length + length)."),
        "def answer_f1(found, truth):\n"
        "    def words(text):\n"
        '        return [word for word in text.split() if word not in ("a", "an", "the")]\n\n'
        "    found, truth = words(found), words(truth)\n"
        "    common = sum((Counter(found) & Counter(truth)).values())\n"
        "    return 2 * common / (len(found) + len(truth))",
    ),
    "09.2": Exercise(
        computes(
            ((np.array([0.0, 2.0, 1.0]), np.array([0.0, 1.0, 3.0])), (1, 2)),
            ((np.array([1.0, 5.5]), np.array([4.0, 0.0])), (1, 1)),
            ((np.array([3.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.5])), (0, 1)),
        ),
        _("try all pairs of start and end with end ≥ start; the largest sum wins."),
        "def span(begins, ends):\n"
        "    pairs = [(i, j) for i in range(len(begins)) for j in range(i, len(ends))]\n"
        "    return max(pairs, key=lambda pair: begins[pair[0]] + ends[pair[1]])",
    ),
    "09.3": Exercise(
        computes(
            ((50, 53, 45, 20), (5, 8)),
            ((50, 53, 20, 20), (-1, -1)),
            ((50, 53, 32, 20), (-1, -1)),
            ((50, 53, 34, 20), (16, 19)),
            ((10, 12, 11, 20), (-1, -1)),
        ),
        _("an answer that ends after the last token of the window is not complete in it."),
        "def in_window(first, last, start, length):\n"
        "    if first < start or last >= start + length:\n"
        "        return -1, -1\n"
        "    return first - start, last - start",
    ),
    # 10 GPT
    "10.a": Exercise(
        choice("B"),
        _(
            "divided by a small number the differences between logits grow, and the softmax puts all on the largest."
        ),
        'prediction = "B"',
    ),
    "10.b": Exercise(
        choice("A"),
        _(
            "the keys and values of earlier tokens do not depend on later ones, so the cached ones are the same."
        ),
        'prediction = "A"',
    ),
    "10.1": Exercise(
        computes(
            ((np.array([2.0, 1.0, 0.0]), 1.0), _softmax(np.array([2.0, 1.0, 0.0]))),
            ((np.array([2.0, 1.0, 0.0]), 0.5), _softmax(np.array([4.0, 2.0, 0.0]))),
        ),
        _("divide the scores by the temperature, then take the softmax."),
        "def probabilities(scores, temperature):\n"
        "    odds = np.exp(scores / temperature)\n"
        "    return odds / odds.sum()",
    ),
    "10.2": Exercise(
        computes(
            ((np.array([0.5, 0.3, 0.15, 0.05]), 0.7), [0, 1]),
            ((np.array([0.1, 0.6, 0.3]), 0.5), [1]),
            ((np.array([0.25, 0.25, 0.4, 0.1]), 0.65), [0, 2]),
        ),
        _(
            "sort by probability and take tokens until their sum reaches p, including the one that reaches it."
        ),
        "def allowed(probabilities, p):\n"
        '    order = np.argsort(-probabilities, kind="stable")\n'
        "    count = np.searchsorted(np.cumsum(probabilities[order]), p - 1e-9) + 1\n"
        "    return sorted(order[:count].tolist())",
    ),
    "10.3": Exercise(
        equals(round(2 * 30 * 3 * 64 * 2048 * 2 / 2**20)),
        _("keys and values (2), per layer, per key-value head, 64 numbers of 2 bytes, per position."),
        "answer = 2 * 30 * 3 * 64 * 2048 * 2 / 2**20",
    ),
    "10.4": Exercise(
        computes(
            ((1,), np.array([[True]])),
            ((3,), np.array([[True, False, False], [True, True, False], [True, True, True]])),
        ),
        _("row i belongs to the token that attends: it may see the tokens 0 to i, the lower triangle."),
        "def causal_mask(t):\n    return np.tril(np.ones((t, t), bool))",
    ),
}
