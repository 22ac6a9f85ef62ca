"""Sums over tokens: in portions or whole they are the same; scores are those of the definitions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from labkit.models.conv import Pooled
from labkit.tasks import token_metrics
from labkit.tasks.embed import Embed, Encoder, normalised
from labkit.tasks.token_metrics import TokenSums, token_sums

RANDOM = np.random.default_rng(0)
HIDDEN = jnp.asarray(RANDOM.normal(size=(11, 3)), jnp.float32)
TABLE = jnp.asarray(RANDOM.normal(size=(7, 3)), jnp.float32)
TARGET = jnp.asarray(RANDOM.integers(0, 7, 11))
WEIGHT = jnp.asarray([1, 2, 0, 1, 0.5, 0, 1, 1, 0, 3, 1], jnp.float32)
TOLD = np.asarray(TARGET), np.asarray(WEIGHT)


def both(smoothing):
    def run(hidden, table):
        return token_sums(lambda h: h @ table.T, hidden, TARGET, WEIGHT, 7, smoothing)

    return jax.value_and_grad(run, (0, 1), has_aux=True)(HIDDEN, TABLE)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_portions_change_no_number_and_no_gradient(monkeypatch, smoothing):
    whole = both(smoothing)
    monkeypatch.setattr(token_metrics, "AT_ONCE", 7 * 3)
    for mine, other in zip(jax.tree.leaves(both(smoothing)), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(other), rtol=2e-6, atol=1e-6)
    (loss, found), _ = whole
    logs = np.asarray(jax.nn.log_softmax(HIDDEN @ TABLE.T))
    target, weight = TOLD
    plain = -logs[np.arange(11), target]
    assert float(found.loss_sum) == pytest.approx((plain * weight).sum(), rel=1e-5)
    aim = (1 - smoothing) * np.eye(7)[target] + smoothing / 7
    assert float(loss) == pytest.approx(((-(aim * logs).sum(1)) * weight).sum(), rel=1e-5)
    right = (logs.argmax(1) == target) & (weight > 0)
    assert int(found.right) == right.sum() and int(found.tokens) == 8 and float(found.weight) == 10.5


def test_scores_of_sums():
    scores = TokenSums(jnp.float32(6.0), jnp.float32(4.0), jnp.int32(3), jnp.int32(5)).compute()
    assert scores == pytest.approx(
        {"loss": 1.5, "perplexity": np.exp(1.5), "bits": 1.5 / np.log(2), "accuracy": 0.6}
    )
    assert all(np.isnan(value) for value in TokenSums.empty().compute().values())


VECTORS = jnp.asarray(RANDOM.normal(size=(20, 4)), jnp.float32)


class Table(nnx.Module):
    """In the place of a backbone: a vector for every first token."""

    def __call__(self, ids, mask, *, key=None):
        return Pooled(VECTORS[ids[:, 0]])


def test_the_contrastive_loss_is_that_of_the_definition_and_filler_is_nobodys_partner():
    batch = {
        "ids": jnp.arange(5)[:, None],
        "mask": jnp.ones((5, 1), bool),
        "target_ids": jnp.arange(10, 15)[:, None],
        "target_mask": jnp.ones((5, 1), bool),
        "weight": jnp.array([1.0, 2.0, 1.0, 0.0, 0.0]),
    }
    task = Embed(temperature=0.1).build((), np.zeros(0, int))
    total, weight, found = task.loss(Encoder(Table()), batch, None)
    unit = normalised(VECTORS)
    cosines = np.asarray(unit[:3] @ unit[10:13].T)
    scores = cosines / 0.1
    one = -np.diagonal(np.asarray(jax.nn.log_softmax(scores, axis=1)))
    two = -np.diagonal(np.asarray(jax.nn.log_softmax(scores, axis=0)))
    assert float(weight) == 4 and float(total) == pytest.approx(((one + two) / 2 * [1, 2, 1]).sum(), rel=1e-5)
    right = (scores.argmax(0) == np.arange(3)).sum() + (scores.argmax(1) == np.arange(3)).sum()
    assert found.compute() == pytest.approx(
        {"loss": float(total) / 4, "accuracy": right / 6, "cosine": np.diagonal(cosines).mean()}, rel=1e-5
    )
