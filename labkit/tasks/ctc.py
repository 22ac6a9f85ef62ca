"""Connectionist temporal classification (Graves et al. 2006): loss, greedy decoding and edit distances on the device.

Every frame has scores of all characters and of "no character" (blank, number 0). A transcript is read off by merging
equal neighbours and dropping blanks.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from labkit.core.shapes import Array, Bool, Float, Int
from labkit.data.batching.speech import BLANK


def ctc_loss(
    logits: Float[Array, "b t v"],
    length: Int[Array, " b"],
    characters: Int[Array, "b c"],
    count: Int[Array, " b"],
) -> Float[Array, " b"]:
    """Negative log-likelihood of each transcript, in nats.

    Args:
        logits: of the characters and the blank.
        length: real frames of each sound.
        characters: numbers of the characters of each transcript, padded at the end.
        count: characters of each transcript.
    """
    beyond = (jnp.arange(logits.shape[1]) >= length[:, None]).astype(jnp.float32)
    padding = (jnp.arange(characters.shape[1]) >= count[:, None]).astype(jnp.float32)
    return optax.ctc_loss(logits.astype(jnp.float32), beyond, characters, padding, blank_id=BLANK)


def emitted(best: Int[Array, "b t"], length: Int[Array, " b"]) -> Bool[Array, "b t"]:
    """Which frames emit a character in greedy decoding: no blank, no repetition, no padding."""
    before = jnp.pad(best, ((0, 0), (1, 0)), constant_values=BLANK)[:, :-1]
    return (best != BLANK) & (best != before) & (jnp.arange(best.shape[1]) < length[:, None])


def greedy_edits(
    best: Int[Array, "b t"], length: Int[Array, " b"], characters: Int[Array, "b c"], count: Int[Array, " b"]
) -> Int[Array, " b"]:
    """Edit distance (Levenshtein 1966) between what each sound's likeliest frames read and its transcript.

    A row of the table of distances is computed for each character that is emitted, all sounds at once; that
    insertions follow one another is a running minimum.
    """
    emits, places = emitted(best, length), jnp.arange(characters.shape[1] + 1)
    first = jnp.broadcast_to(places, (len(best), len(places)))

    def step(row: Array, frame: tuple[Array, Array]) -> tuple[Array, None]:
        character, emit = frame
        substituted = row[:, :-1] + (characters != character[:, None])
        without = jnp.concatenate([row[:, :1] + 1, jnp.minimum(substituted, row[:, 1:] + 1)], axis=1)
        new = lax.cummin(without - places, axis=1) + places
        return jnp.where(emit[:, None], new, row), None

    last, _unused = lax.scan(step, first, (best.T, emits.T))
    return jnp.take_along_axis(last, count[:, None], axis=1)[:, 0]


def frames_needed(characters: np.ndarray) -> int:
    """Frames without which a transcript has no alignment: its characters, and a blank between equal neighbours."""
    return len(characters) + int((characters[1:] == characters[:-1]).sum())


def spectral_augment(
    frames: Float[Array, "b t f"], length: Int[Array, " b"], key: jax.Array, warp: float, masks: int
) -> Float[Array, "b t f"]:
    """Random changes of frames for training.

    The frequencies of each sound are stretched by up to ``1 + warp``, as by a shorter or longer vocal tract (Jaitly &
    Hinton 2013), and ``masks`` bands of up to a fifth of the frequencies and ``masks`` spans of up to 100 ms are set to
    0, which is the mean (SpecAugment, Park et al. 2019, arXiv 1904.08779).
    """
    rows, steps, bands = frames.shape
    keys = jax.random.split(key, 3)
    if warp > 0:
        factor = jnp.exp(jnp.log1p(warp) * jax.random.uniform(keys[0], (rows, 1), minval=-1.0))
        at = jnp.clip(jnp.arange(bands) * factor, 0, bands - 1)
        low = jnp.floor(at).astype(jnp.int32)
        high, share = jnp.minimum(low + 1, bands - 1), (at - low)[:, None]
        one, other = (jnp.take_along_axis(frames, place[:, None], axis=2) for place in (low, high))
        frames = one * (1 - share) + other * share
    for which, size in ((1, steps), (2, bands)):
        whole = length.astype(jnp.float32)[:, None] if which == 1 else jnp.full((rows, 1), bands, jnp.float32)
        widest = jnp.minimum(WIDEST, whole / 4) if which == 1 else whole / 5
        for one in jax.random.split(keys[which], masks):
            draw = jax.random.uniform(one, (2, rows, 1))
            width = draw[0] * widest
            begin, place = draw[1] * (whole - width), jnp.arange(size)
            hidden = (place >= begin) & (place < begin + width)
            frames = jnp.where(jnp.expand_dims(hidden, 3 - which), 0, frames)
    return frames


#: Frames that a mask in time hides at most.
WIDEST = 10.0
