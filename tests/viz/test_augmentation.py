"""The preview of augmentation shows what training does to pictures, and to their masks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import labkit as lk
from labkit.app.state import State
from labkit.app.steps.model import Model
from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.arrays import stack
from labkit.data.io.pixels import Pixels
from labkit.tasks.augment import augment


def test_the_preview_is_the_augmentation_of_training():
    rows = lk.load("digits")
    found = lk.preview_augmentation(rows, "shift-flip", count=3, versions=2, seed=5)
    assert found.pictures.shape == (3, 3, 8, 8, 1) and found.rows.tolist() == [0, 898, 1796]
    inputs = stack(rows["train"].select([0, 898, 1796]), rows.schema).inputs
    inputs = Pixels.fit(inputs).to_model(inputs)
    assert np.array_equal(found.pictures[:, 0], inputs)
    for version, key in enumerate(jax.random.split(jax.random.key(5), 2), 1):
        assert np.array_equal(
            found.pictures[:, version], np.asarray(augment(jnp.asarray(inputs), "shift-flip", key))
        )
    assert found._repr_html_().count("<img") == 9 and "3 pictures, 2 versions" in repr(found)


def test_what_cannot_be_augmented_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'shift'"):
        lk.preview_augmentation("digits", "shfit")
    with pytest.raises(ConfigError, match="must be at least 1"):
        lk.preview_augmentation("digits", versions=0)
    with pytest.raises(DataError, match="the rows are text"):
        lk.preview_augmentation([{"text": "a b", "label": "x"}] * 3, "flip")


def test_the_step_model_shows_it_while_an_augmentation_is_chosen(tmp_path):
    state = State(folder=tmp_path, language="en")
    state.rows = lk.load("digits").sample(60)
    panel = Model(state=state)
    panel.settle(120)
    assert panel.augmented.value == ""
    state.task = state.task.replace(augment="flip")
    panel.settle(120)
    assert panel.problem is None and panel.augmented.value.count("<img") == 28
    assert "Augmented training pictures" in panel.augmented.value
    panel.close()
