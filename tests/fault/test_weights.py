"""Weights of another architecture, size or type: refused with what differs, and the model is as it was."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

import labkit as lk
from labkit.core.errors import LabkitError, WeightsError

SMALL = {"bert": {"width": 16, "depth": 2, "heads": 2, "mlp_width": 32, "max_length": 64, "vocab_size": 50}}
SMALL["gpt"] = {"width": 16, "depth": 2, "heads": 2, "vocab_size": 50, "max_length": 64}
PRESET = {"bert": "tiny", "gpt": "mini"}


def built(name: str, **changes):
    config = lk.models[name](preset=PRESET[name], **{**SMALL[name], **changes})
    return config, config.build(nnx.Rngs(0))


def bits(module) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A saved BERT and a saved GPT, 16 wide, 2 deep."""
    made = {}
    for name in SMALL:
        config, module = built(name)
        made[name] = tmp_path_factory.mktemp(name)
        config.save(module, made[name])
    return made


OTHERS = [
    ("bert", "gpt", {}), ("gpt", "bert", {}), ("bert", "bert", {"width": 32}), ("bert", "bert", {"depth": 3}),
    ("bert", "bert", {"depth": 1}), ("bert", "bert", {"mlp_width": 64}), ("bert", "bert", {"vocab_size": 51}),
    ("bert", "bert", {"max_length": 32}), ("gpt", "gpt", {"width": 32}), ("gpt", "gpt", {"vocab_size": 60}),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "name", "changes"), OTHERS)
def test_wrong_arch_is_refused_and_changes_nothing(folders, stored, name, changes):
    config, module = built(name, **changes)
    before = bits(module)
    with pytest.raises(LabkitError) as caught:
        config.load(module, folders[stored])
    assert bits(module) == before
    text = str(caught.value)
    for kind, lines in re.findall(r"^\d+ ([a-z ]+):\n((?:  .*\n?)+)", text, re.MULTILINE):
        named = [line for line in lines.splitlines() if not line.startswith("  …")]
        assert 1 <= len(named) <= 10, kind
    assert re.search(r"do not match the model|is a|are of|contains", text), text


@pytest.mark.parametrize("kind", [np.float64, np.int32, np.uint8])
def test_wrong_dtype_is_refused(folders, tmp_path, kind):
    import shutil

    shutil.copytree(folders["bert"], tmp_path / "m")
    arrays = load_file(tmp_path / "m" / "model.safetensors")
    save_file(
        {name: array.astype(kind) for name, array in arrays.items()}, tmp_path / "m" / "model.safetensors"
    )
    config, module = built("bert")
    before = bits(module)
    with pytest.raises(WeightsError, match=r"different dtype:\n.*: file [FIU]\d+, model F32"):
        config.load(module, tmp_path / "m")
    assert bits(module) == before


def test_honest_weights_load(folders):
    for name in SMALL:
        config, module = built(name)
        config.load(module, folders[name])


def test_targets_without_weight_weigh_nothing():
    """The sum over no token is 0, of weight 0, and so is its gradient: no 0/0 anywhere."""
    from labkit.tasks.token_metrics import token_sums

    hidden, table = jnp.ones((5, 3)), jnp.ones((7, 3))

    def run(hidden):
        total, found = token_sums(
            lambda h: h @ table.T, hidden, jnp.zeros(5, jnp.int32), jnp.zeros(5), 7, 0.1
        )
        return total, found

    (total, found), gradient = jax.value_and_grad(run, has_aux=True)(hidden)
    assert float(total) == 0 and float(found.weight) == 0 and np.abs(gradient).max() == 0
