"""Smaller forms of a trained model, opened as predictors: quantised weights, pruned attention heads and units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from labkit.core.errors import ConfigError, DataError
from labkit.explain.attribution import Explainer
from labkit.i18n import _
from labkit.inference.predictor import Predictor
from labkit.models.bert.model import Bert
from labkit.tasks.base import ProblemType
from labkit.train.processors import TextProcessor

if TYPE_CHECKING:
    from datasets import Dataset

#: Bits of a quantised weight.
BITS = (8, 4)
#: Rows that the importance of heads and units is measured on, at most.
SAMPLE = 512


class QuantizedPredictor(Predictor):
    """A predictor whose matrices and tables are whole numbers of 8 or 4 bits with a scale for each output channel
    (of tables: each row), symmetric around 0; they become float32 as they are used. Biases, norms and activations
    stay as they are.

    Args:
        source: a model folder.
        bits: 8 or 4.
        device, plugins: see :class:`~labkit.inference.pipeline.Pipeline`.

    Raises:
        ConfigError: another number of bits.
    """

    def __init__(
        self, source: str | Path, bits: int = 8, device: jax.Device | None = None, plugins: Sequence[str] = ()
    ):
        if bits not in BITS:
            raise ConfigError(_("bits = {bits!r}; weights can have 8 or 4."), bits=bits)
        super().__init__(source, device, plugins, "float32")
        self.bits = bits
        leaves, tree = jax.tree_util.tree_flatten_with_path(self._state)
        packed = [packed_weights(_last(path), np.asarray(leaf), bits) for path, leaf in leaves]
        self.bytes = sum(part.nbytes for leaf in packed for part in leaf.values())
        self._packed = jax.device_put(packed, device)
        shapes = [leaf.shape for _path, leaf in leaves]

        def unpacked(packed: list[dict[str, Any]]) -> Any:
            return tree.unflatten(
                [unpacked_weights(leaf, shape) for leaf, shape in zip(packed, shapes, strict=True)]
            )

        self._unpacked = unpacked
        self._state = unpacked(self._packed)  # what explanations read
        nnx.update(self.model, self._state)
        answer = jax.jit(
            lambda packed, batch: self.head.predict(nnx.merge(self._graph, unpacked(packed)), batch)
        )
        self._answer = lambda batch: answer(self._packed, batch)


class PrunedPredictor(Predictor):
    """A predictor of a BERT without its least important attention heads and feed-forward units.

    The importance of a head or unit is the mean size of the derivative of the loss by a gate on it (Michel et al.,
    arXiv 1905.10650), over labelled rows. Each layer loses the same number.

    Args:
        source: a model folder of a BERT that classifies texts.
        rows: rows with labels, of the training or validation split; the test rows are for judging.
        heads: share of the heads of each layer that is removed.
        units: share of the feed-forward units of each layer that is removed.
        device, plugins: see :class:`~labkit.inference.pipeline.Pipeline`.

    Raises:
        ConfigError: another architecture or task, or a share out of range.
        DataError: no labelled rows.
    """

    def __init__(
        self, source: str | Path, rows: Dataset, heads: float = 0.25, units: float = 0.25,
        device: jax.Device | None = None, plugins: Sequence[str] = (),
    ):  # fmt: skip
        super().__init__(source, device, plugins, "float32")
        if not isinstance(self.model.backbone, Bert) or self.problem_type is not ProblemType.CLASS:
            raise ConfigError(
                _("pruning is for BERT models that classify; this one is a {type} for {problem!r}."),
                type=type(self.model.backbone).__name__, problem=str(self.problem_type),
            )  # fmt: skip
        for name, share in (("heads", heads), ("units", units)):
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
                raise ConfigError(
                    _("{name} = {share!r}; it must be a share from 0 to less than 1."), name=name, share=share
                )
        layers = self.model.backbone.layers
        by_head, by_unit = self._importance(rows)
        self.heads = _kept(by_head, heads)  # i32[layers, heads that stay]
        self.units = _kept(by_unit, units)
        size = layers.out.kernel[...].shape[1] // by_head.shape[1]
        places = (self.heads[:, :, None] * size + np.arange(size)).reshape(len(self.heads), -1)
        for layer in (layers.query, layers.key, layers.value):
            _slice(layer, places, -1)
        _slice(layers.out, places, 1)
        _slice(layers.mlp_in, self.units, -1)
        _slice(layers.mlp_out, self.units, 1)
        layers.heads = self.heads.shape[1]
        self._graph, self._state = nnx.split(self.model)
        self._measure()
        self.explainer = Explainer(self.model, self.classes, self.processor, self.problem_type, self._offset)
        self._answer = self._compile(self.head.predict)

    def _importance(self, rows: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Importance of each head [layers, heads] and each unit [layers, units]."""
        assert isinstance(self.processor, TextProcessor), "BERT reads texts"
        labels = np.asarray(rows["label"])
        known = np.flatnonzero(labels >= 0)
        if not len(known):
            raise DataError(_("pruning needs rows with labels."))
        chosen = known[np.unique(np.linspace(0, len(known) - 1, SAMPLE).round().astype(int))]
        part, labels = rows.select(chosen), labels[chosen]
        pairs = part["text_pair"] if "text_pair" in part.column_names else None

        def of_gates(state: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
            loss = lambda state: self.head.loss(nnx.merge(self._graph, state), batch, None)[0]  # noqa: E731
            slopes, layers = jax.grad(loss)(state).backbone.layers, state.backbone.layers
            by_unit = jnp.sum(layers.mlp_out.kernel[...] * slopes.mlp_out.kernel[...], -1)
            by_place = jnp.sum(layers.out.kernel[...] * slopes.out.kernel[...], -1)
            heads = self.model.backbone.layers.heads
            by_head = by_place.reshape(len(by_place), heads, -1).sum(-1)
            return jnp.abs(by_head), jnp.abs(by_unit)

        of_gates, found = jax.jit(of_gates), None
        for batch in self.processor.to_predict(part["text"], pairs):
            real = batch["index"] >= 0
            batch = {**batch, "label": np.where(real, labels[batch["index"]], 0).astype(np.int32)}
            sums = of_gates(self._state, {**batch, "weight": real.astype(np.float32)})
            found = sums if found is None else jax.tree.map(jnp.add, found, sums)
        return jax.device_get(found)


def packed_weights(name: str, value: np.ndarray, bits: int) -> dict[str, np.ndarray]:
    """A parameter as whole numbers and scales, where it is a matrix or a table; others as they are.

    Args:
        name: its last name: "kernel" [..., in, out], "embedding" [n, d], or another.
        value: its values.
        bits: of a number; two of 4 bits share a byte.
    """
    if value.ndim < 2 or name not in ("kernel", "embedding"):
        return {"value": value}
    most = 2 ** (bits - 1) - 1
    greatest = np.abs(value).max(-1 if name == "embedding" else -2, keepdims=True)
    scale = (np.maximum(greatest, np.finfo(np.float32).tiny * most) / most).astype(np.float32)
    numbers = np.clip(np.rint(value / scale), -most, most).astype(np.int8)
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
        return packed["numbers"].astype(jnp.float32) * packed["scale"]
    both = jnp.stack([packed["pairs"] & 15, packed["pairs"] >> 4], -1).astype(jnp.float32) - 8
    return both.reshape(*both.shape[:-2], -1)[..., : shape[-1]] * packed["scale"]


def _last(path: Sequence[Any]) -> str:
    """The last name of a parameter."""
    names = [str(getattr(part, "key", getattr(part, "name", part))) for part in path]
    return next((name for name in reversed(names) if name not in ("value", "raw_value")), "")


def _kept(importance: np.ndarray, share: float) -> np.ndarray:
    """Places of the most important of each layer, in their order, i32[layers, k]; at least one."""
    count = max(1, importance.shape[1] - round(share * importance.shape[1]))
    return np.sort(np.argsort(-importance, axis=1, kind="stable")[:, :count], axis=1)


def _slice(layer: Any, places: np.ndarray, axis: int) -> None:
    """Keep these inputs (axis 1) or outputs (axis -1) of a stacked linear layer."""
    index = places[:, None, :] if axis == -1 else places[:, :, None]
    layer.kernel = nnx.Param(jnp.take_along_axis(layer.kernel[...], index, axis))
    if axis == -1 and layer.bias is not None:
        layer.bias = nnx.Param(jnp.take_along_axis(layer.bias[...], places, -1))
