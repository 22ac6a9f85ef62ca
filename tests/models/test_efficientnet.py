"""EfficientNet-Lite0: a block by NumPy, its weights folded from a file of PyTorch, which is read without unpickling."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType

import jax
import numpy as np
import pytest
from flax import nnx

from labkit.core.errors import ConfigError, SampleError
from labkit.hub.legacy_torch import MAGIC, read_legacy
from labkit.models.vision.efficientnet import EfficientNetConfig, InvertedResidual


def test_a_block_by_loops():
    block = InvertedResidual(4, 4, 3, 1, 2, "float32", nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(1, 5, 6, 4)).astype(np.float32)
    expand, depthwise, project = (
        np.asarray(part.kernel[...], np.float64) for part in (block.expand, block.depthwise, block.project)
    )
    inner = np.clip(x[0] @ expand[0, 0], 0, 6)
    padded = np.pad(inner, ((1, 1), (1, 1), (0, 0)))
    seen = np.zeros_like(inner)
    for y, column, i, j in np.ndindex(5, 6, 3, 3):
        seen[y, column] += padded[y + i, column + j] * depthwise[i, j, 0]
    want = x[0] + np.clip(seen, 0, 6) @ project[0, 0]
    assert np.asarray(jax.jit(block)(x))[0] == pytest.approx(want, abs=1e-4)


def test_sizes_are_those_of_the_paper():
    config = EfficientNetConfig(input_shape=(32, 32, 1))
    # 4,652,008 are published: with the layer of the classes, and the two numbers of a norm in place of each bias.
    assert config.count() == 4_652_008 - 1281 * 1000 - 21_008
    assert (config.width, config.depth, config.fixed_vectors) == (1280, 18, True)
    pictures = jax.ShapeDtypeStruct((2, 32, 32, 1), np.uint8)
    out = jax.eval_shape(lambda x: config.build(nnx.Rngs(0))(x).pooled, pictures)
    assert out.shape == (2, 1280)
    with pytest.raises(ConfigError, match="grey or RGB images, not 4 channels"):
        EfficientNetConfig(input_shape=(32, 32, 4)).build(nnx.Rngs(0))


def write(path, tensors, other=None):
    """A state dict in the format of PyTorch before 1.6."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")

    def _rebuild_tensor_v2(*given):
        raise AssertionError("never called")

    class FloatStorage:
        pass

    FloatStorage.__module__, FloatStorage.__qualname__ = "torch", "FloatStorage"
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    torch.FloatStorage, torch._utils, utils._rebuild_tensor_v2 = FloatStorage, utils, _rebuild_tensor_v2

    class Storage:
        def __init__(self, key, count):
            self.key, self.count = key, count

    class Tensor:
        def __init__(self, storage, array):
            self.storage, self.array = storage, array

        def __reduce__(self):
            steps = tuple(step // 4 for step in self.array.strides)
            return _rebuild_tensor_v2, (self.storage, 0, self.array.shape, steps, False, {})

    class Writer(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                return "storage", FloatStorage, value.key, "cpu", value.count, None
            return None

    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        with open(path, "wb") as file:
            for value in (MAGIC, 1001, {"little_endian": True}):
                pickle.dump(value, file, protocol=2)
            state = {name: Tensor(Storage(name, array.size), array) for name, array in tensors.items()}
            Writer(file, protocol=2).dump(state if other is None else other)
            pickle.dump(list(tensors), file, protocol=2)
            for array in tensors.values():
                file.write(np.int64(array.size).tobytes() + array.tobytes(order="A"))
    finally:
        del sys.modules["torch"], sys.modules["torch._utils"]


def test_a_file_of_pytorch_is_read_but_never_executed(tmp_path):
    random = np.random.default_rng(0)
    tensors = {"a.weight": random.normal(size=(2, 3)).astype("<f4"), "b": random.normal(size=4).astype("<f4")}
    tensors["turned"] = np.asfortranarray(random.normal(size=(3, 2)).astype("<f4"))
    write(tmp_path / "good.pth", tensors)
    found = read_legacy(tmp_path / "good.pth")
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert np.array_equal(found[name], array)

    class Evil:
        def __reduce__(self):
            return sys.exit, ("executed",)

    write(tmp_path / "evil.pth", tensors, {"a": Evil()})
    with pytest.raises(SampleError, match=r"is not allowed"):
        read_legacy(tmp_path / "evil.pth")
    (tmp_path / "short.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:-8])
    (tmp_path / "other.pth").write_bytes(b"PK no such file")
    for name in ("short", "other"):
        with pytest.raises(SampleError, match=r"is not a file of tensors as PyTorch wrote them"):
            read_legacy(tmp_path / f"{name}.pth")
