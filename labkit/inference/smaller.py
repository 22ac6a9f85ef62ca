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
from labkit.inference.pipeline import is_folder
from labkit.inference.predictor import Predictor
from labkit.models import packed
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
    """A predictor whose matrices and tables are whole numbers of 8 or 4 bits, rounded by qwix: with a scale for each
    output channel (of tables: each row), and with 4 bits for every 32 weights of it; they become float32 as they are
    used. Biases, norms and activations stay as they are. ``lk.Predictor(folder)`` opens what :meth:`save` has written.

    Args:
        source: a model folder.
        bits: 8 or 4.
        device, plugins: see :class:`~labkit.inference.pipeline.Pipeline`.

    Raises:
        ConfigError: another number of bits, or a model that was made smaller before.
    """

    def __init__(
        self, source: str | Path, bits: int = 8, device: jax.Device | None = None, plugins: Sequence[str] = ()
    ):
        if bits not in BITS:
            raise ConfigError(_("bits = {bits!r}; weights can have 8 or 4."), bits=bits)
        _check_whole(source)
        super().__init__(source, device, plugins, "float32")
        self.bits = bits
        leaves = jax.tree.leaves(self._state)
        names = [name.rpartition("/")[2] for name in packed.parameter_names(self._state)]
        self._hold([packed.packed_weights(name, np.asarray(leaf), bits)
                    for name, leaf in zip(names, leaves, strict=True)], device)  # fmt: skip
        self._answer = self.compiled(self.head.predict)

    def save(self, folder: str | Path) -> Path:
        """Write the model to a new folder, which :class:`labkit.Predictor` opens with the same answers.

        Raises:
            ConfigError: the folder is not empty.
        """
        return _save(self, Path(folder), self._packed, {"form": packed.QUANTIZED, "bits": self.bits})


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
        _check_whole(source)
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
        self._answer = self.compiled(self.head.predict)

    def save(self, folder: str | Path) -> Path:
        """Write the model to a new folder, which :class:`labkit.Predictor` opens with the same answers.

        Raises:
            ConfigError: the folder is not empty.
        """
        leaves = [{"value": np.asarray(leaf)} for leaf in jax.tree.leaves(self._state)]
        return _save(self, Path(folder), leaves, {"form": packed.PRUNED, "heads": int(self.heads.shape[1])})

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


def _check_whole(source: str | Path) -> None:
    """Raise :class:`ConfigError` for a folder whose model was made smaller before."""
    if is_folder(source) and packed.about(Path(source)) is not None:
        raise ConfigError(
            _("{folder!r} was quantised or pruned before; give the folder of the whole model."),
            folder=str(source),
        )


def _save(predictor: Predictor, folder: Path, leaves: Any, facts: dict[str, Any]) -> Path:
    """Write a smaller model; the bias that the predictor adds in float64 is stored as its head's."""
    leaves = [{part: np.asarray(value) for part, value in leaf.items()} for leaf in leaves]
    if predictor._offset is not None:
        place = packed.parameter_names(predictor._state).index("head/bias")
        leaves[place] = {"value": np.asarray(predictor._offset, np.float32)}
    return packed.save(predictor.folder, folder, predictor._state, leaves, facts)


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
