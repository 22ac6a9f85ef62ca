"""Pictures changed by chance: what may come out, and that labels, filler and evaluation are left alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core.errors import ConfigError
from labkit.tasks.augment import augment, mixup
from labkit.tasks.classify import Classify

PICTURES = jnp.arange(1, 1 + 6 * 8 * 8, dtype=jnp.int32).reshape(6, 8, 8, 1)


def test_a_moved_picture_is_a_window_of_the_padded_one():
    found = np.asarray(augment(PICTURES, "shift", jax.random.key(0)))
    padded = np.pad(np.asarray(PICTURES), ((0, 0), (1, 1), (1, 1), (0, 0)))
    corners = set()
    for picture, whole in zip(found, padded, strict=True):
        where = [
            (y, x) for y in range(3) for x in range(3) if np.array_equal(picture, whole[y : y + 8, x : x + 8])
        ]
        assert len(where) == 1
        corners.update(where)
    assert len(corners) > 1  # each picture by a chance of its own


def test_about_half_of_the_pictures_are_mirrored():
    many = jnp.tile(PICTURES[:1], (200, 1, 1, 1))
    found = np.asarray(augment(many, "flip", jax.random.key(1)))
    mirrored = (found == np.asarray(many)[:, :, ::-1]).all((1, 2, 3))
    kept = (found == np.asarray(many)).all((1, 2, 3))
    assert (mirrored | kept).all() and 70 < mirrored.sum() < 130


def test_other_inputs_than_pictures_are_refused():
    with pytest.raises(ConfigError, match=r"augment = 'flip' needs images.*\(4,\)"):
        augment(jnp.ones((2, 4)), "flip", jax.random.key(0))


def test_mixing_is_linear_and_leaves_filler_out():
    weight = jnp.array([1.0, 1, 1, 1, 0, 0])
    mixed, partner, share = mixup(PICTURES.astype(jnp.uint8), weight, 0.4, jax.random.key(3))
    assert 0 <= float(share) <= 1
    partner = np.asarray(partner)
    assert (
        partner[4:].tolist() == [4, 5] and set(partner[:4]) <= {0, 1, 2, 3} and len(set(partner.tolist())) > 1
    )
    x = np.asarray(PICTURES.astype(jnp.uint8)) / np.float32(255)
    np.testing.assert_allclose(mixed, float(share) * x + (1 - float(share)) * x[partner], atol=1e-6)


@pytest.fixture(scope="module")
def classifier():
    config = lk.models["mlp"](widths=(5,), input_shape=(4, 4, 1))
    random = np.random.default_rng(0)
    batch = {
        "inputs": jnp.asarray(random.normal(size=(6, 4, 4, 1)), jnp.float32),
        "label": jnp.array([0, 1, 2, 0, 1, 2]),
        "weight": jnp.ones(6),
    }

    def losses(key, **settings):
        task = Classify(head_dropout=0.0, **settings).build(("a", "b", "c"), np.arange(3))
        total, weight, _ = task.loss(task.init(config, nnx.Rngs(0)), batch, key)
        return float(total / weight), np.asarray(jax.nn.log_softmax(task.init(config, nnx.Rngs(0))(batch)))

    return losses, np.asarray(batch["label"])


def test_smoothing_spreads_the_aim_and_only_while_training(classifier):
    losses, label = classifier
    found, logs = losses(jax.random.key(0), label_smoothing=0.3)
    aim = 0.7 * np.eye(3)[label] + 0.1
    assert found == pytest.approx(-(aim * logs).sum(1).mean(), rel=1e-5)
    plain = -logs[np.arange(6), label].mean()
    assert losses(None, label_smoothing=0.3)[0] == pytest.approx(plain, rel=1e-5)
    assert losses(None, mixup=0.4, augment="flip")[0] == pytest.approx(plain, rel=1e-5)
    assert losses(jax.random.key(0), mixup=0.4)[0] != pytest.approx(plain, rel=1e-3)
