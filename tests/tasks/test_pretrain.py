"""Hiding words: which, how many, behind what; and the loss of what was hidden."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core.errors import ConfigError
from labkit.data.text.tokenizer import Tokenizer
from labkit.tasks.pretrain import Pretrain, hide

V, MASK = 50, 4
RANDOM = np.random.default_rng(0)


def rows(count=400, wide=64):
    return jnp.asarray(RANDOM.integers(5, V, (count, wide)), jnp.int32)


def test_as_many_as_asked_are_chosen_and_hidden_in_the_three_ways():
    ids = rows()
    free = jnp.ones(ids.shape, bool).at[:, :8].set(False)
    found = hide(ids, free, None, 0.15, MASK, V, jax.random.key(0))
    told, place = np.asarray(found.weight) > 0, np.asarray(found.place)
    assert told.sum() / free.sum() == pytest.approx(0.15, rel=0.03) and place[told].min() >= 8
    before, after = (np.take_along_axis(np.asarray(x), place, 1)[told] for x in (ids, found.ids))
    np.testing.assert_array_equal(before, np.asarray(found.target)[told])
    assert (after == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (after == before).mean() == pytest.approx(0.1 + 0.1 / V, abs=0.015)
    untouched = np.ones(ids.shape, bool)
    np.put_along_axis(untouched, place, ~told, axis=1)
    np.testing.assert_array_equal(np.asarray(found.ids)[untouched], np.asarray(ids)[untouched])
    each = [set(row[mine].tolist()) for row, mine in zip(place, told, strict=True)]
    assert sum(map(len, each)) == told.sum()  # no place is told twice


def test_the_same_key_hides_the_same():
    ids = rows(4)
    one, again, other = (hide(ids, ids > 0, None, 0.2, MASK, V, jax.random.key(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.ids, again.ids)
    assert not np.array_equal(one.ids, other.ids)


def test_whole_words_are_chosen_whole():
    ids = rows(200)
    goes_on = jnp.asarray(RANDOM.random(ids.shape) < 0.4).at[:, 0].set(False)
    found = hide(ids, jnp.ones(ids.shape, bool), goes_on, 0.15, MASK, V, jax.random.key(1))
    chosen = np.zeros(ids.shape, bool)
    np.put_along_axis(chosen, np.asarray(found.place), np.asarray(found.weight) > 0, axis=1)
    after_it = np.asarray(goes_on)[:, 1:]
    np.testing.assert_array_equal(chosen[:, 1:][after_it], chosen[:, :-1][after_it])
    assert chosen.mean() == pytest.approx(0.15, abs=0.02)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["playing players play games", "gaming gamers"] * 3, vocab_size=100)


def test_what_is_never_hidden_and_what_goes_on(tokenizer):
    task = Pretrain().build((), np.zeros(0, int), tokenizer)
    special = [tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert (
        task.reserved[special].all()
        and not task.reserved[tokenizer.unk_id]
        and task.mask_id == tokenizer.mask_id
    )
    pieces = tokenizer.pieces("playing gamers")
    for piece, number, _ in pieces:
        assert task.goes_on[number] == piece.startswith("##")
    assert task.goes_on.any() and not (task.goes_on & task.reserved).any()


def test_whole_words_need_a_vocabulary_that_marks_them():
    plain = Tokenizer.train(["playing players play games"] * 3, kind="bpe", vocab_size=300)
    with pytest.raises(ConfigError, match="whole_words needs a WordPiece vocabulary"):
        Pretrain(whole_words=True).build((), np.zeros(0, int), plain)


def test_the_loss_is_of_the_hidden_tokens_and_the_pairs(tokenizer):
    config = lk.models["bert"](
        preset="tiny", width=8, depth=1, heads=2, mlp_width=8, max_length=24, vocab_size=tokenizer.vocab_size
    )
    task = Pretrain().build((), np.zeros(0, int), tokenizer)
    module = task.init(config, nnx.Rngs(0))
    ids = jnp.asarray(RANDOM.integers(5, tokenizer.vocab_size, (6, 20)), jnp.int32)
    batch = {
        "ids": ids, "mask": jnp.ones(ids.shape, bool), "types": jnp.zeros_like(ids),
        "label": jnp.array([0, 1, 1, 0, 1, 0]), "weight": jnp.array([1.0, 1, 1, 1, 0, 0]),
    }  # fmt: skip
    total, weight, sums = jax.jit(lambda batch: task.loss(module, batch, None))(batch)
    hiding, _ = jax.random.split(jax.random.key(0))
    free = ~jnp.asarray(task.reserved)[ids] & (batch["weight"][:, None] > 0)
    masked = hide(ids, free, None, 0.15, task.mask_id, tokenizer.vocab_size, hiding)
    seen = module.backbone(masked.ids, batch["mask"], batch["types"])
    logs = jax.nn.log_softmax(
        module.head.mlm_logits(seen.hidden, module.backbone.embeddings.word.embedding[...])
    )
    places = np.argwhere(np.asarray(masked.weight) > 0)
    losses = [-float(logs[i, int(masked.place[i, j]), int(masked.target[i, j])]) for i, j in places]
    follows = jax.nn.log_softmax(module.head.nsp_logits(seen.pooled))
    next_losses = [-float(follows[i, int(batch["label"][i])]) for i in range(4)]
    assert float(weight) == 4 and set(places[:, 0]) <= {0, 1, 2, 3}
    assert float(total) == pytest.approx(4 * np.mean(losses) + sum(next_losses), rel=1e-4)
    scores = sums.compute()
    assert scores["loss"] == pytest.approx(np.mean(losses) + np.mean(next_losses), rel=1e-4)
    assert int(sums.words.tokens) == len(losses)
