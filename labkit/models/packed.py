"""Smaller forms of trained models as files: weights as whole numbers with scales, and models without some heads.

Scales and rounding are those of ``qwix.quantize``. Its quantisation of whole models (``qwix.PtqProvider``) is not used:
it leaves embedding tables in float32 (half of a MiniLM), and quantises the weights of convolutions only together with
the activations. Nor are its arrays the files: safetensors has no numbers of 4 bits, and opening a model needs no qwix.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core import manifest
from labkit.core.cache import write_atomic
from labkit.core.errors import ConfigError, WeightsError
from labkit.core.extras import require
from labkit.core.safety import small_text
from labkit.hub.tensors import Tensors, check_values, write_tensors
from labkit.i18n import _

#: File that says how the weights of a folder are stored, and the file of these weights.
ABOUT, FILE = "smaller.json", "smaller.safetensors"
#: Forms of the weights.
QUANTIZED, PRUNED = "quantized", "pruned"
PARTS = ("value", "numbers", "pairs", "scale")
#: Weights of 4 bits that share a scale.
TILE = 32
#: A parameter: its ``value``, or ``numbers`` (int8) or ``pairs`` (two of 4 bits in a byte) with their ``scale``.
Packed = dict[str, Any]


def packed_weights(name: str, value: np.ndarray, bits: int) -> dict[str, np.ndarray]:
    """A parameter as whole numbers and scales, where it is a matrix or a table; others as they are.

    Args:
        name: its last name: "kernel" [..., in, out], "embedding" [n, d], or another.
        value: its values.
        bits: of a number; two of 4 bits share a byte. Of 8 bits an output channel (of a table: a row) has one scale,
            of 4 bits one for every :data:`TILE` of its weights, where they can be divided so.

    Raises:
        ExtraError: qwix is not installed.
    """
    if value.ndim < 2 or name not in ("kernel", "embedding"):
        return {"value": value}
    require("quantize")
    import qwix

    axis = value.ndim - (1 if name == "embedding" else 2)
    tiled = bits == 4 and value.shape[axis] % TILE == 0
    found = qwix.quantize(
        jnp.asarray(value, jnp.float32), jnp.int8 if bits == 8 else jnp.int4,
        channelwise_axes=[place for place in range(value.ndim) if place != axis],
        tiled_axes={axis: TILE} if tiled else {},
    )  # fmt: skip
    numbers, scale = np.asarray(found.qvalue.astype(jnp.int8)), np.asarray(found.scale)
    if bits == 8:
        return {"numbers": numbers, "scale": scale}
    if numbers.shape[-1] % 2:
        numbers = np.concatenate([numbers, np.zeros_like(numbers[..., :1])], -1)
    shifted = (numbers + 8).astype(np.uint8)
    return {"pairs": shifted[..., ::2] | shifted[..., 1::2] << 4, "scale": scale}


def unpacked_weights(packed: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """The parameter of ``shape`` that :func:`packed_weights` packed, as far as its bits hold it."""
    if "value" in packed:
        return packed["value"]
    if "numbers" in packed:
        numbers = packed["numbers"].astype(jnp.float32)
    else:
        both = jnp.stack([packed["pairs"] & 15, packed["pairs"] >> 4], -1).astype(jnp.float32) - 8
        numbers = both.reshape(*both.shape[:-2], -1)[..., : shape[-1]]
    scale = packed["scale"]
    for axis, (scales, size) in enumerate(zip(scale.shape, numbers.shape, strict=True)):
        if 1 < scales < size:
            scale = jnp.repeat(scale, size // scales, axis)
    return numbers * scale


def parameter_names(state: Any) -> list[str]:
    """Names of the parameters of a state, in the order of its leaves."""
    leaves, _tree = jax.tree_util.tree_flatten_with_path(state)
    parts = [
        [str(getattr(part, "key", getattr(part, "name", part))) for part in path] for path, _leaf in leaves
    ]
    return ["/".join(name for name in path if name not in ("value", "raw_value")) for path in parts]


def about(folder: Path) -> dict[str, Any] | None:
    """How the weights of a model folder are stored; None for a folder with ordinary weights.

    Raises:
        WeightsError: the file is damaged.
    """
    if not (folder / ABOUT).exists():
        return None
    try:
        found = json.loads(small_text(folder / ABOUT, WeightsError))
        if found["form"] not in (QUANTIZED, PRUNED) or not isinstance(found.get("heads", 1), int):
            raise ValueError(found["form"])
    except WeightsError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(
            _("{file} of {folder!r} cannot be read: {error!r}. Save the model again."),
            file=ABOUT, folder=folder.name, error=error,
        ) from None  # fmt: skip
    return found


def save(source: Path, folder: Path, state: Any, packed: Sequence[Packed], facts: dict[str, Any]) -> Path:
    """Write a model folder with smaller weights.

    Args:
        source: folder of the ordinary model, whose other files are copied.
        folder: a new one.
        state: of the module; its leaves name the weights.
        packed: the weights, leaf after leaf.
        facts: how they are stored: ``form``, and ``bits`` or ``heads``.

    Raises:
        ConfigError: ``folder`` is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(_("{folder!r} is not empty; give a new folder."), folder=str(folder))
    left = shutil.ignore_patterns(
        "*.safetensors", "*.safetensors.index.json", "adapter*", "README.md", manifest.NAME
    )
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=left)
    tensors = {
        f"{name}.{part}": np.ascontiguousarray(value)
        for name, each in zip(parameter_names(state), packed, strict=True) for part, value in each.items()
    }  # fmt: skip
    write_tensors(folder, tensors, FILE)
    write_atomic(folder / ABOUT, json.dumps(facts, indent=2) + "\n")
    manifest.seal(folder)
    return folder


def read(folder: Path, state: Any) -> list[Packed]:
    """The weights that :func:`save` wrote, leaf after leaf of ``state``.

    Raises:
        WeightsError: a file is missing or damaged, or the weights do not fit.
    """
    stored, found = Tensors(folder, [folder / FILE]), []
    for name, leaf in zip(parameter_names(state), jax.tree.leaves(state), strict=True):
        parts = {part: stored.whole_numbers(full) if part in ("numbers", "pairs") else stored[full]
                 for part in PARTS if (full := f"{name}.{part}") in stored}  # fmt: skip
        if set(parts) not in ({"value"}, {"numbers", "scale"}, {"pairs", "scale"}):
            raise WeightsError(
                _("the model in {folder} lacks {lacking}. Copy or export it again."),
                folder=folder.name,
                lacking=name,
            )
        for part in ("value", "scale"):
            if part in parts:
                check_values(parts[part], name, folder)
        shape = parts["value"].shape if "value" in parts else _shape_of(parts, leaf.shape)
        scales = parts["scale"].shape if "scale" in parts else shape
        if len(scales) != len(shape) or any(
            count < 1 or size % count for count, size in zip(scales, shape, strict=True)
        ):
            raise WeightsError(
                _("{name} in {folder!r} has scales of the shape {scales} for weights of {shape}."),
                name=name, folder=folder.name, scales=scales, shape=shape,
            )  # fmt: skip
        if len(shape) != len(leaf.shape) or any(
            mine > most for mine, most in zip(shape, leaf.shape, strict=True)
        ):
            raise WeightsError(
                _("{name} in {folder!r} has shape {shape}; the model needs {wanted}."),
                name=name, folder=folder.name, shape=shape, wanted=tuple(leaf.shape),
            )  # fmt: skip
        found.append(parts)
    return found


def _shape_of(parts: Packed, shape: tuple[int, ...]) -> tuple[int, ...]:
    if "numbers" in parts:
        return parts["numbers"].shape
    pairs = parts["pairs"].shape  # of an odd width the last half byte is filler
    return (*pairs[:-1], shape[-1]) if len(pairs) == len(shape) and pairs[-1] == -(-shape[-1] // 2) else pairs


def fill(module: nnx.Module, folder: Path) -> None:
    """Put the weights that :func:`save` wrote into a module of the whole size.

    Raises:
        WeightsError: a file is missing or damaged, or the weights do not fit.
    """
    facts = about(folder)
    assert facts is not None
    state = nnx.state(module)
    leaves, tree = jax.tree.flatten(state)
    values = [
        jnp.asarray(unpacked_weights(each, leaf.shape))
        for each, leaf in zip(read(folder, state), leaves, strict=True)
    ]
    if facts["form"] == PRUNED:
        pruned: Any = module
        try:
            _had = pruned.backbone.layers.heads
        except AttributeError:
            raise WeightsError(
                _("the model in {folder!r} has no attention heads to leave out."), folder=folder.name
            ) from None
        pruned.backbone.layers.heads = facts["heads"]
    elif any(value.shape != leaf.shape for value, leaf in zip(values, leaves, strict=True)):
        raise WeightsError(_("the weights in {folder!r} do not fit the model."), folder=folder.name)
    nnx.update(module, tree.unflatten(values))
