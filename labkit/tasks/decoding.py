"""Text generation with a key-value cache: one compiled loop for all new tokens.

 The prompt goes through the model once; then a loop on the device draws a token, reads it, draws the next,
and ends early when every text has ended. Nothing returns to the host before all is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import PyTree

from labkit.core.config import SEEDS, Config, option
from labkit.core.errors import ConfigError
from labkit.core.shapes import Array, Bool, Float, Int, PRNGKeyArray
from labkit.i18n import _

LOWEST = float(jnp.finfo(jnp.float32).min)


@dataclass(frozen=True)
class Generation(Config):
    """Decoding
    settings. Without chance (``temperature`` 0) it is greedy, or a beam search where ``beams`` is above 1."""

    max_new_tokens: int = option(64, "Maximum number of new tokens.", low=1, high=1_000_000)
    temperature: float = option(
        0.0, _("Sampling temperature: logits are divided by it. 0: greedy decoding."), low=0.0
    )
    top_k: int = option(0, "Sample only from the k most likely tokens. 0: no limit.", low=0, high=10_000_000)
    top_p: float = option(
        1.0,
        "Nucleus sampling: sample from the smallest set of tokens whose probabilities sum to at least "
        "top_p. 1: no limit.",
        low=0.0,
        high=1.0,
    )
    beams: int = option(1, "Number of beams of beam search. 1: no beam search.", low=1, high=1_000)
    length_penalty: float = option(
        1.0,
        "Beam search score: log-probability divided by length to this power. Greater than 1 favours longer texts.",
    )
    seed: int = option(0, _("Random seed of sampling."), low=0, high=SEEDS)

    def check(self) -> None:
        """Raise :class:`ConfigError` for a beam search with chance, which is neither."""
        super().check()
        if self.beams > 1 and self.temperature > 0:
            raise ConfigError(_("beams = {beams}: beam search needs temperature = 0."), beams=self.beams)


class Written(NamedTuple):
    """What was written: ``ids`` i32[b, n], ``length`` i32[b] with the token that ends a text, ``score``
    f32[b], the sum of the tokens' log chances."""

    ids: Int[Array, "b n"]
    length: Int[Array, " b"]
    score: Float[Array, " b"]


#: (ids [b, 1] or the prompt [b, t], count [b], cache) → logits f32[b, v] after the last counted token, and
#: the cache.
Step = Callable[[Array, Array, Any], tuple[Array, Any]]


def step_of(model: Any) -> Step:
    """Interface of a model with cached decoding (``step``) and next-token scores (``logits``)."""

    def step(ids: Array, count: Array, cache: Any) -> tuple[Array, Any]:
        hidden, cache = model.step(ids, count, cache)
        last = jnp.take_along_axis(hidden, jnp.maximum(count - 1, 0)[:, None, None], axis=1)[:, 0]
        return model.logits(last), cache

    return step


def write(
    step: Step,
    prompt: Int[Array, "b t"],
    count: Int[Array, " b"],
    cache: PyTree[Array],
    ends: int | Sequence[int],
    how: Generation,
    key: PRNGKeyArray,
    upto: Array | int | None = None,
) -> Written:
    """Generate text after prompts; made to be called inside ``jax.jit``.

    Args:
        step: reads tokens (see :data:`Step`).
        prompt: right-padded prompts.
        count: their lengths; 0 for a row of no text, after which nothing is written.
        cache: with room for the prompt and ``max_new_tokens``.
        ends: the token that ends a text, or several that do; -1 for none.
        how: the settings, which are compiled in, but for ``seed``.
        key: random key.
        upto: new tokens at most, where they are fewer than ``max_new_tokens``; not of a beam search.
    """
    logits, cache = step(prompt, count, cache)
    ends = (ends,) if isinstance(ends, int) else tuple(ends)
    if how.beams > 1:
        return _search(step, logits, cache, ends, how, count)
    first = _first(logits, cache, ends, how, count)
    drawn = draw(step, first, ends, how, key, how.max_new_tokens if upto is None else upto)
    return Written(drawn.ids, drawn.length, drawn.score)


def _ended(token: Array, ends: tuple[int, ...]) -> Array:
    return jnp.isin(token, jnp.asarray(ends, token.dtype))


def choose(logits: Float[Array, "b v"], how: Generation, key: PRNGKeyArray) -> Int[Array, " b"]:
    """The next token: the likeliest, or drawn from what ``top_k`` and then ``top_p`` leave (Fan et al. 2018,
    arXiv 1805.04833; Holtzman et al. 2019, arXiv 1904.09751)."""
    if how.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return jax.random.categorical(key, left(logits / how.temperature, how.top_k, how.top_p)).astype(jnp.int32)


def left(logits: Float[Array, "b v"], top_k: int, top_p: float) -> Float[Array, "b v"]:
    """Logits with those cut off that may not be drawn; the likeliest always stays."""
    if 0 < top_k < logits.shape[-1]:
        least = lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits < least, LOWEST, logits)
    if top_p < 1:
        order = jnp.argsort(-logits, axis=-1)
        chances = jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1), axis=-1)
        before = jnp.cumsum(chances, axis=-1) - chances  # the chance of what is likelier
        keep = jnp.put_along_axis(
            jnp.zeros(logits.shape, bool), order, (before < top_p), axis=-1, inplace=False
        )
        keep = keep.at[jnp.arange(len(logits)), order[:, 0]].set(True)
        logits = jnp.where(keep, logits, LOWEST)
    return logits


class Drawing(NamedTuple):
    """Texts that are being generated, after ``number`` new tokens; ``over``: which have ended."""

    number: Int[Array, ""]
    logits: Float[Array, "b v"]
    cache: Any
    ids: Int[Array, "b n"]
    over: Bool[Array, " b"]
    length: Int[Array, " b"]
    score: Float[Array, " b"]


def begin(
    step: Step, prompt: Int[Array, "b t"], count: Int[Array, " b"], cache: PyTree[Array],
    ends: tuple[int, ...], how: Generation,
) -> Drawing:  # fmt: skip
    """The state after reading prompts, before the first new token; see :func:`write`."""
    return _first(*step(prompt, count, cache), ends, how, count)


def _first(
    logits: Array, cache: PyTree[Array], ends: tuple[int, ...], how: Generation, count: Array
) -> Drawing:
    rows, most = len(logits), how.max_new_tokens
    return Drawing(
        jnp.int32(0), logits, cache, jnp.full((rows, most), max(ends[0], 0), jnp.int32), count == 0,
        jnp.zeros(rows, jnp.int32), jnp.zeros(rows, jnp.float32),
    )  # fmt: skip


def draw(
    step: Step, drawing: Drawing, ends: tuple[int, ...], how: Generation, key: PRNGKeyArray, upto: Array | int
) -> Drawing:
    """Generate tokens until there are ``upto``, or all texts have ended. The tokens do not depend on how often
    this is called."""

    def unfinished(carry: Drawing) -> Bool[Array, ""]:
        return (carry.number < upto) & ~jnp.all(carry.over)

    def one(carry: Drawing) -> Drawing:
        number, logits, cache, ids, over, length, score = carry
        token = choose(logits, how, jax.random.fold_in(key, number))
        logs = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=-1)[:, 0]
        ids = ids.at[:, number].set(jnp.where(over, ids[:, number], token))
        length, score = length + ~over, jnp.where(over, score, score + logs)
        over = over | _ended(token, ends)
        logits, cache = step(token[:, None], (~over).astype(jnp.int32), cache)
        return Drawing(number + 1, logits, cache, ids, over, length, score)

    return lax.while_loop(unfinished, one, drawing)


def _search(
    step: Step, logits: Array, cache: PyTree[Array], ends: tuple[int, ...], how: Generation, count: Array
) -> Written:
    """Beam search (Wu et al. 2016, arXiv 1609.08144, 7): the ``beams`` likeliest texts are followed."""
    rows, vocabulary = logits.shape
    beams, most = how.beams, how.max_new_tokens
    spread = lambda x: jnp.repeat(x, beams, axis=0)  # noqa: E731
    cache = map_rows(spread, cache)
    logs = jax.nn.log_softmax(spread(logits)).reshape(rows, beams, vocabulary)
    alone = jnp.where(jnp.arange(beams) == 0, 0.0, LOWEST)  # at first all beams are the same text
    first = (
        jnp.int32(0), logs, cache, jnp.full((rows, beams, most), max(ends[0], 0), jnp.int32),
        jnp.repeat(count == 0, beams).reshape(rows, beams), jnp.zeros((rows, beams), jnp.int32),
        jnp.broadcast_to(alone, (rows, beams)),
    )  # fmt: skip

    def normalized(score: Array, length: Array) -> Array:
        return score / jnp.maximum(length, 1).astype(jnp.float32) ** how.length_penalty

    def unfinished(carry: tuple[Any, ...]) -> Bool[Array, ""]:
        return (carry[0] < most) & ~jnp.all(carry[4])

    def one(carry: tuple[Any, ...]) -> Any:
        number, logs, cache, ids, over, length, score = carry
        # An ended text goes on as itself, once: with a token that costs nothing.
        nothing = jnp.where(jnp.arange(vocabulary) == 0, 0.0, LOWEST)
        logs = jnp.where(over[:, :, None], nothing, logs)
        total = score[:, :, None] + logs
        longer = length + ~over
        worth = normalized(total, longer[:, :, None]).reshape(rows, -1)
        place = lax.top_k(worth, beams)[1]
        from_beam, token = place // vocabulary, (place % vocabulary).astype(jnp.int32)
        pick = lambda x: jnp.take_along_axis(x, from_beam.reshape(rows, beams, *(1,) * (x.ndim - 2)), axis=1)  # noqa: E731
        ids, over, length = pick(ids), pick(over), pick(longer)
        score = jnp.take_along_axis(total.reshape(rows, -1), place, axis=1)
        ids = ids.at[:, :, number].set(jnp.where(over, ids[:, :, number], token))
        over = over | _ended(token, ends)
        flat = (jnp.arange(rows)[:, None] * beams + from_beam).reshape(-1)
        cache = map_rows(lambda x: x[flat], cache)
        logits, cache = step(token.reshape(-1, 1), (~over).astype(jnp.int32).reshape(-1), cache)
        logs = jax.nn.log_softmax(logits).reshape(rows, beams, vocabulary)
        return number + 1, logs, cache, ids, over, length, score

    _, _, _, ids, _, length, score = lax.while_loop(unfinished, one, first)
    best = jnp.argmax(normalized(score, length), axis=1)
    take = lambda x: jnp.take_along_axis(x, best.reshape(rows, 1, *(1,) * (x.ndim - 2)), axis=1)[:, 0]  # noqa: E731
    return Written(take(ids), take(length), take(score))


def map_rows(function: Callable[[Array], Array], cache: PyTree[Array]) -> Any:
    """Apply a function of an array's first axis to the examples of a cache: the second axis of keys and
    values [L, b, t, h, k], the first of everything else."""

    def one(leaf: Array) -> Array:
        if leaf.ndim == 5:
            return jnp.moveaxis(function(jnp.moveaxis(leaf, 1, 0)), 0, 1)
        return function(leaf)

    return jax.tree.map(one, cache)
