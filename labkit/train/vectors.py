"""Vectors of pictures from a frozen backbone, computed once: later epochs, and later runs, train the head on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax import nnx

from labkit.core.cache import cache_dir, fingerprint, sha256_file
from labkit.data.batching.arrays import ArrayBatches, Arrays, MaskedArrays, VectorArrays
from labkit.models.base import Modality, ModelConfig
from labkit.profile.compiler import compiler_options
from labkit.tasks.base import Head
from labkit.train.default_rates import head_alone
from labkit.train.experiment import Experiment

#: Pictures in one compiled call; bytes of vectors that are kept for later runs, at most.
BATCH, LARGEST = 32, 2**31


def reusable(experiment: Experiment, head: Head, model: ModelConfig, examples: Mapping[str, Any]) -> bool:
    """Whether an experiment trains the head alone on vectors that stay the same: pretrained weights of pictures, and
    nothing changed at random."""
    pictures = all(
        isinstance(part, Arrays) and not isinstance(part, MaskedArrays) for part in examples.values()
    )
    return (
        pictures
        and bool(model.weights)
        and not experiment.train.warm_start
        and model.modality is Modality.IMAGE
        and model.fixed_vectors
        and head.reads_vectors
        and head_alone(experiment.train.optimizer, model.layers)
    )


def vectors_of(arrays: Arrays, model: ModelConfig, compute: bool = True) -> VectorArrays:
    """The examples as vectors f32[n, d]; from the cache where the same pictures went through the same weights before.

    Args:
        arrays: pictures as the model reads them.
        model: config of the backbone, with its weights and the shape of the pictures.
        compute: False for zeros in their place, for cost estimates.
    """
    found = np.zeros((len(arrays), model.output_width), np.float32) if not compute else _cached(arrays, model)
    return VectorArrays(found, arrays.label, arrays.row, target=arrays.target, truncated=arrays.truncated)


def _cached(arrays: Arrays, model: ModelConfig) -> np.ndarray:
    folder = model.folder()
    assert folder is not None, "reusable has seen weights"
    stored = [sha256_file(path) for path in sorted(folder.glob("*.safetensors"))]
    inputs = np.ascontiguousarray(arrays.inputs)
    about = [model.to_dict(), list(inputs.shape), inputs.dtype.str, model.dtype, jax.__version__]
    key = fingerprint(stored, about, [jax.default_backend()], _digest(inputs))
    place = cache_dir("vectors") / f"{key}.npy"
    if place.exists():
        try:
            found = np.load(place, allow_pickle=False)
            if found.shape == (len(arrays), model.output_width) and found.dtype == np.float32:
                return found
        except (OSError, ValueError):  # damaged: computed again
            pass
    found = computed(arrays, model)
    if found.nbytes <= LARGEST:
        part = place.with_suffix(f".{id(found)}.tmp.npy")
        np.save(part, found, allow_pickle=False)
        part.replace(place)
    return found


def _digest(inputs: np.ndarray) -> str:
    digest = hashlib.sha256()
    digest.update(inputs.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def computed(arrays: Arrays, model: ModelConfig) -> np.ndarray:
    """The vectors of the pictures by the pretrained weights, f32[n, d]."""
    backbone = nnx.eval_shape(lambda: model.build(nnx.Rngs(0)))
    model.load(backbone)
    graph, state = nnx.split(backbone)
    answer = jax.jit(
        lambda state, inputs: nnx.merge(graph, state)(inputs).pooled, compiler_options=compiler_options()
    )
    found = np.zeros((len(arrays), model.output_width), np.float32)
    pictures = replace(arrays, target=None)
    for batch in ArrayBatches(pictures, min(BATCH, max(1, len(arrays))), shuffle=False, labelled_only=False):
        index = batch["index"]
        found[index[index >= 0]] = np.asarray(answer(state, batch["inputs"]))[index >= 0]
    return found
