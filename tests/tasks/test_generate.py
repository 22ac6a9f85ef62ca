"""Writing on, with a chain for a model: the last two tokens decide what comes, so every answer can be counted."""

from __future__ import annotations

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from labkit.core.errors import ConfigError
from labkit.models.seq2seq.model import TransformerConfig
from labkit.tasks.decoding import Generation, choose, left, map_rows, step_of, write

V, END = 4, 3
TABLE = np.random.default_rng(5).normal(0, 1.5, (V, V, V)).astype(np.float32)
LOGS = np.asarray(jax.nn.log_softmax(TABLE))


def step(ids, count, cache):
    """The last two tokens are all the cache there is."""
    before, last = cache[:, 0], cache[:, 1]
    for place in range(ids.shape[1]):
        read = place < count
        before, last = jnp.where(read, last, before), jnp.where(read, ids[:, place], last)
    return jnp.asarray(TABLE)[before, last], jnp.stack([before, last], axis=1)


PROMPT, COUNT = np.array([[0, 1, 0], [2, 1, 2], [1, 0, 0]]), np.array([2, 3, 1])
STARTS = [(0, 1), (1, 2), (0, 1)]  # the last two tokens of each; before a single one stands 0


def written(how, end=END):
    key, prompt, count = jax.random.key(how.seed), jnp.asarray(PROMPT), jnp.asarray(COUNT)
    made = jax.jit(lambda: write(step, prompt, count, jnp.zeros((3, 2), int), end, how, key))()
    return [(ids[:n].tolist(), float(score)) for ids, n, score in zip(*map(np.asarray, made), strict=True)]


def chance(start, tokens):
    """The log chance of writing these after a start."""
    total, (a, b) = 0.0, start
    for token in tokens:
        total += LOGS[a, b, token]
        a, b = b, token
    return total


def test_greedy_takes_the_likeliest_until_the_end():
    for (tokens, score), start in zip(written(Generation(max_new_tokens=6)), STARTS, strict=True):
        expected, (a, b) = [], start
        while len(expected) < 6 and (not expected or expected[-1] != END):
            expected.append(int(LOGS[a, b].argmax()))
            a, b = b, expected[-1]
        assert tokens == expected and score == pytest.approx(chance(start, tokens), abs=1e-4)


def test_without_an_end_all_tokens_are_written():
    assert {len(tokens) for tokens, _ in written(Generation(max_new_tokens=5), end=-1)} == {5}


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_as_wide_as_all_texts_finds_the_best_of_them(penalty):
    most = 3
    found = written(Generation(max_new_tokens=most, beams=V ** (most - 1), length_penalty=penalty))
    texts = {
        tuple(itertools.takewhile(lambda token: token != END, text)) + ((END,) if END in text else ())
        for text in itertools.product(range(V), repeat=most)
    }
    for (tokens, score), start in zip(found, STARTS, strict=True):
        best = max(texts, key=lambda text: chance(start, text) / len(text) ** penalty)
        assert tokens == list(best) and score == pytest.approx(chance(start, best), abs=1e-4)


def test_a_search_with_a_transformer_finds_the_best_of_all_texts():
    """Every text of three tokens is scored by a forward pass over the whole text."""
    sizes = {"encoder_depth": 1, "decoder_depth": 1, "width": 8, "heads": 2, "mlp_width": 16, "dropout": 0.0}
    model = TransformerConfig(vocab_size=V, max_length=8, **sizes).build(nnx.Rngs(3))
    model.word.embedding[...] = 4 * model.word.embedding[...]  # logits that differ
    source, real, begin = jnp.array([[1, 2, 0], [2, 0, 0]]), jnp.array([[True] * 3, [True, True, False]]), 0
    every = itertools.product(range(V), repeat=3)
    texts = sorted({text[: text.index(END) + 1] if END in text else text for text in every})
    target = np.array([[begin, *t, *[0] * (3 - len(t))] for t in texts])

    @nnx.jit
    def scores(model, one, mask):
        tile = lambda x: jnp.repeat(x[None], len(texts), axis=0)  # noqa: E731
        hidden = model(tile(one), tile(mask), jnp.asarray(target), jnp.ones(target.shape, bool)).hidden
        return jax.nn.log_softmax(model.logits(hidden[:, :-1]))

    @partial(nnx.jit, static_argnums=3)
    def found(model, source, real, how):
        cache = model.start(model.encode(source, real), real, 4)
        start = jnp.full((3, 1), begin)
        return write(step_of(model), start, jnp.array([1, 1, 0]), cache, END, how, jax.random.key(0))

    source, real = jnp.concatenate([source, source[:1]]), jnp.concatenate([real, real[:1] & False])
    made = found(model, source, real, Generation(max_new_tokens=3, beams=V**2, length_penalty=2.0))
    for row in range(2):
        logs = np.asarray(scores(model, source[row], real[row]))
        sums = [sum(logs[n, i, token] for i, token in enumerate(text)) for n, text in enumerate(texts)]
        best = int(np.argmax([one / len(text) ** 2 for one, text in zip(sums, texts, strict=True)]))
        assert tuple(np.asarray(made.ids[row, : made.length[row]]).tolist()) == texts[best]
        assert float(made.score[row]) == pytest.approx(sums[best], abs=1e-4)
    assert int(made.length[2]) == 0  # a row that fills a batch


def test_chance_follows_the_temperature():
    logits = jnp.tile(jnp.array([[0.0, 1.0, 2.0]]), (20000, 1))
    how = Generation(temperature=2.0)
    found = np.bincount(np.asarray(choose(logits, how, jax.random.key(0))), minlength=3) / 20000
    np.testing.assert_allclose(found, jax.nn.softmax(jnp.array([0.0, 0.5, 1.0])), atol=0.015)


def test_drawing_is_a_function_of_the_seed():
    one, again, other = (
        written(Generation(max_new_tokens=8, temperature=1.0, seed=seed), end=-1) for seed in (1, 1, 2)
    )
    assert one == again and one != other
    for (tokens, score), start in zip(one, STARTS, strict=True):
        assert score == pytest.approx(chance(start, tokens), abs=1e-3)


def test_what_may_be_drawn():
    logits = jnp.log(jnp.array([[0.1, 0.5, 0.15, 0.25]]))
    allowed = lambda *rest: np.flatnonzero(np.asarray(left(logits, *rest))[0] > -1e30).tolist()  # noqa: E731
    assert allowed(0, 1.0) == [0, 1, 2, 3] and allowed(2, 1.0) == [1, 3] and allowed(9, 1.0) == [0, 1, 2, 3]
    assert allowed(0, 0.5) == [1] and allowed(0, 0.51) == [1, 3] and allowed(0, 0.8) == [1, 2, 3]
    assert allowed(0, 0.0) == [1]  # the likeliest always stays
    assert allowed(3, 0.6) == [1, 3]  # the chances are taken anew after the first cut


def test_the_examples_of_a_cache():
    cache = {"keys": jnp.arange(2 * 3).reshape(2, 3, 1, 1, 1), "used": jnp.arange(3)}
    turned = map_rows(lambda x: x[::-1], cache)
    assert turned["used"].tolist() == [2, 1, 0] and turned["keys"][:, :, 0, 0, 0].tolist() == [
        [2, 1, 0],
        [5, 4, 3],
    ]


def test_a_beam_search_has_no_chance():
    with pytest.raises(ConfigError, match="beams = 3: beam search needs temperature = 0"):
        Generation(beams=3, temperature=0.7)
