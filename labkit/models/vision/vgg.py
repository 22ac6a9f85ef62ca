"""VGG: stages of 3 x 3 convolutions and max-pooling (Simonyan & Zisserman 2014, arXiv 1409.1556).

 Optionally with batch normalisation, which was introduced later; the convolutions keep their biases then, as
in the published weights, though a norm takes them away again. Stored convolutions are read from a folder with
labkit's own names (``convs/0/kernel``), such as the sample "vgg16-trunk".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Num

from labkit.core.config import option
from labkit.core.errors import ConfigError, WeightsError
from labkit.core.shapes import Array, Bool, Float, PRNGKeyArray
from labkit.i18n import _
from labkit.models import conv, fields, norms, weights
from labkit.models import layers as parts
from labkit.models.base import DrawingPart, Modality, ModelConfig
from labkit.models.conv import Pooled
from labkit.models.foreign import FREE, SLACK, settings_of, shown, stored_in
from labkit.profile.activations import Activations, dense, number_bytes, scaled_inputs

# Table 1 of the paper, columns A, B, D and E: convolutions in each of the five stages.
PLAIN: dict[str, dict[str, Any]] = {
    "vgg-11": {"stages": (1, 1, 2, 2, 2)},
    "vgg-13": {"stages": (2, 2, 2, 2, 2)},
    "vgg-16": {"stages": (2, 2, 3, 3, 3)},
    "vgg-19": {"stages": (2, 2, 4, 4, 4)},
}
PRESETS = {
    **PLAIN,
    **{f"{name}-bn": {**sizes, "batch_norm": True} for name, sizes in PLAIN.items()},
    "vgg16-trunk": {**PLAIN["vgg-16"], "weights": "vgg16-trunk", "head_width": 0, "pixels": "imagenet"},
}
WIDENING = (1, 2, 4, 8, 8)  # channels of a stage / base_width
MEAN = (104.007, 116.669, 122.679)  # blue, green and red of ImageNet, of 255


@dataclass(frozen=True, init=False)
class VggConfig(ModelConfig):
    """Configuration of a VGG: a preset, pretrained weights, or the number of convolutions per stage; missing
    fields are filled in on creation.

    With ``head_width`` two dense layers of that width follow the convolutions, as published (4096); 512 suits
    pictures of 32 x 32. With 0, global average pooling is used instead. The first stages of pretrained
    weights can be used alone (``stages=(2, 2, 3)``), for images too small for five; dense layers are randomly
    initialised.

    Raises:
        ConfigError: an unknown preset, a value out of range, batch norm with weights that have none.
        WeightsError: the weights cannot be found, or are of another architecture.
    """

    modality: ClassVar[Modality] = Modality.IMAGE
    rates: ClassVar[parts.Rates] = parts.Rates(fresh=1.5e-3, pretrained=4e-4, width=128)
    shown: ClassVar[tuple[str, ...]] = ("stages", "base_width", "dropout")
    drawing: ClassVar[tuple[DrawingPart, ...]] = (
        DrawingPart("dense", 7, "block_dense", 4),
        DrawingPart("convs", 4, "block_conv", 3),
        DrawingPart("norm", 6, "block_norm", 7),
    )
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    FROM_WEIGHTS: ClassVar[tuple[str, ...]] = ("stages", "base_width", "head_width", "pixels")

    preset: str = option("", _("Named configuration, or named pretrained weights."), choices=("", *PRESETS))
    weights: str = option(
        "", _("Pretrained convolutions: a sample name or a folder. Empty: random initialisation.")
    )
    stages: tuple[int, ...] = option(
        (1, 1, 2, 2, 2),
        _("Number of convolutions in each stage; max pooling halves the image after each stage."),
        high=10_000,
    )
    base_width: int = option(
        64,
        _("Channels of the first stage; later stages have 2, 4, 8 and 8 times as many."),
        low=1,
        high=100_000,
    )
    head_width: int = option(
        4096,
        _("Units of the two dense layers. 0: none, global average pooling instead."),
        low=0,
        high=1_000_000,
    )
    batch_norm: bool = option(
        False, _("Batch normalisation after each convolution: faster and more stable training.")
    )
    dropout: float = option(0.5, _("Dropout rate of the dense layers during training."), low=0.0, high=0.9)
    pixels: str = option(
        "unit",
        _(
            "Pixel scaling of the input. unit: RGB from 0 to 1. imagenet: BGR from 0 to 255 minus the ImageNet means."
        ),
        choices=("unit", "imagenet"),
    )
    input_shape: tuple[int, ...] | None = option(
        None, _("Image shape: (height, width, channels). Default: that of the data.")
    )
    dtype: str = fields.dtype()

    @classmethod
    def sizes_from(cls, folder: Path) -> dict[str, Any]:
        """The fields that stored convolutions decide."""
        return sizes_from(folder)

    def check(self) -> None:
        """Raise :class:`ConfigError` for a value out of range."""
        super().check()
        if not 1 <= len(self.stages) <= len(WIDENING) or min(self.stages) < 1:
            raise ConfigError(
                _("VggConfig.stages = {stages!r} must be one to five numbers of at least 1."),
                stages=self.stages,
            )
        if self.weights and self.batch_norm:
            raise ConfigError(
                _("VggConfig.batch_norm: the pretrained convolutions have none; omit batch_norm or weights.")
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of every stage."""
        return tuple(self.base_width * times for times in WIDENING[: len(self.stages)])

    @property
    def width(self) -> int:
        """Width of the pooled vector: that of the dense layers, or of the last stage."""
        return self.head_width or self.channels[-1]

    @property
    def depth(self) -> int:
        """Layers with parameters, without a head: VGG-11 has 10, its eleventh is the head."""
        return sum(self.stages) + (2 if self.head_width else 0)

    @property
    def fixed_vectors(self) -> bool:
        """Whether the vector of a picture is the same in training and evaluation."""
        return not self.batch_norm and not (self.head_width and self.dropout)

    def activations(self, batch: Mapping[str, Any]) -> Activations:
        """What a forward pass computes and keeps of a batch, by formula."""
        rows, high, wide, channels = batch["inputs"].shape
        side = (high, wide)
        channels = 3 if self.pixels == "imagenet" else channels
        found, norm = scaled_inputs(batch["inputs"], self.dtype), "batch" if self.batch_norm else "none"
        for width, times in zip(self.channels, self.stages, strict=True):
            for number in range(1, times + 1):
                layer, side = conv.convolution_activations(
                    rows,
                    side,
                    channels,
                    width,
                    norm=norm,
                    pool="max" if number == times else "",
                    dtype=self.dtype,
                    plain=True,
                )
                found += layer if found.flops else replace(layer, first=layer.flops)
                channels = width
        inputs = side[0] * side[1] * channels
        for before in (inputs, self.head_width) if self.head_width else ():
            found += dense(rows, before, self.head_width, "relu", self.dropout > 0, number_bytes(self.dtype))
        return found

    def build(self, rngs: nnx.Rngs) -> Vgg:
        """A model with fresh parameters: He normal, biases 0, norm scales 1.

        Raises:
            ConfigError: without an input shape, or with pictures too small to be halved once a stage.
        """
        return Vgg(self, rngs)

    def _load(self, model: Vgg, folder: Path) -> weights.LoadReport:
        """Put the convolutions of ``folder`` (by default :meth:`folder`) into a model; later ones than it has
        are left.

        Raises:
            WeightsError: there are no weights, or they do not fit; the model is unchanged then.
        """
        count = sum(self.stages)
        names = [f"convs/{number}/{part}" for number in range(count) for part in ("kernel", "bias")]
        names += [f"dense/{number}/{part}" for number in range(2) for part in ("kernel", "bias")]
        later = tuple(f"convs/{number}/" for number in range(count, len(weights.Tensors(folder))))
        entries = tuple(weights.Entry(name, name) for name in names)
        return weights.load_into(model, folder, weights.Table(entries, optional=("dense/",), ignored=later))


def sizes_from(folder: Path) -> dict[str, Any]:
    """The fields of :class:`VggConfig` that the ``config.json`` of stored convolutions settles.

    Raises:
        WeightsError: no readable config.json, another architecture, pixels that are prepared in another way.
    """
    path = folder / "config.json"
    said = settings_of(path)
    kind, pixels = said.get("model_type"), said.get("pixels")
    if kind != "vgg" or "stages" not in said:
        raise WeightsError(
            _("{folder} contains a model of type {kind!r}; supported: 'vgg', with its stages."),
            folder=folder,
            kind=kind,
        )
    published = {"range": [0, 255], "channels": "BGR", "mean": list(MEAN), "scale": 1.0}
    if pixels not in (None, published):
        raise WeightsError(
            _("{folder} was trained on pixels = {pixels!r}; supported: {published!r}, or unspecified."),
            folder=folder, pixels=pixels, published=published,
        )  # fmt: skip
    stages, sizes = (
        said["stages"],
        {name: said[name] for name in ("base_width", "head_width") if name in said},
    )
    if not isinstance(stages, list) or not 1 <= len(stages) <= len(WIDENING):
        raise WeightsError(
            _("{path}: stages = {stages}; expected a list of one to {n_widening} numbers."),
            path=path, stages=shown(stages), n_widening=len(WIDENING),
        )  # fmt: skip
    limits = {"base_width": (1, 100_000), "head_width": (0, 1_000_000)}
    for name, value in [*((f"stages[{place}]", each) for place, each in enumerate(stages)), *sizes.items()]:
        low, high = limits.get(name, (1, 1000))
        if type(value) is not int or not low <= value <= high:
            raise WeightsError(
                _("{path}: {name} = {value}; expected a whole number from {low} to {high:,}."),
                path=path, name=name, value=shown(value), low=low, high=high,
            )  # fmt: skip
    widths = [sizes.get("base_width", VggConfig.base_width) * times for times in WIDENING]
    claimed = sum(9 * width * width * (many - 1) for many, width in zip(stages, widths, strict=False))
    if (stored := stored_in(folder)) is not None and claimed > max(SLACK * stored, FREE):
        raise WeightsError(
            _(
                "{path} describes at least {claimed:,} parameters (stages = {stages}), but the weights "
                "next to it contain {stored:,}. Download or copy the folder again."),
            path=path, claimed=claimed, stages=stages, stored=stored,
        )  # fmt: skip
    return {**sizes, "stages": tuple(stages), "pixels": "imagenet" if pixels else "unit"}


class Vgg(nnx.Module):
    """The network up to its last hidden vector. Parameters under ``convs/0``, …, with batch norm ``norms/0``,
    …, and ``dense/0``, ``dense/1``."""

    def __init__(self, config: VggConfig, rngs: nnx.Rngs):
        self.config = config
        high, wide, channels = conv.known_shape(config, 3, "(height, width, channels)")
        if config.pixels == "imagenet" and channels not in (1, 3):
            raise ConfigError(
                _("VggConfig.pixels = 'imagenet' is for grey or RGB images, not {channels} channels."),
                channels=channels,
            )
        shrink = 2 ** len(config.stages)
        if min(high, wide) < shrink:
            raise ConfigError(
                _(
                    "images of {high} x {wide} pixels cannot be halved {n_stages} times: this VGG needs "
                    "{shrink} x {shrink}. Enlarge them, or use fewer stages."),
                high=high, wide=wide, n_stages=len(config.stages), shrink=shrink,
            )  # fmt: skip
        sizes = [
            width for width, times in zip(config.channels, config.stages, strict=True) for _ in range(times)
        ]
        pairs = zip((3 if config.pixels == "imagenet" else channels, *sizes), sizes, strict=False)
        self.convs = nnx.List([conv.Conv(*pair, dtype=config.dtype, rngs=rngs) for pair in pairs])
        self.norms = nnx.List(
            [norms.BatchNorm(size, dtype=config.dtype) for size in sizes if config.batch_norm]
        )
        flat = (high // shrink) * (wide // shrink) * sizes[-1]
        heads = (
            ((flat, config.head_width), (config.head_width, config.head_width)) if config.head_width else ()
        )
        self.dense = nnx.List([conv.dense(*pair, config.dtype, rngs) for pair in heads])

    def __call__(
        self,
        inputs: Num[Array, "b y x c"],
        *,
        key: PRNGKeyArray | None = None,
        real: Bool[Array, " b"] | None = None,
    ) -> Pooled:
        """One vector float32 [b, d] of every picture. Bytes are read as 0 … 1; with ``pixels`` "imagenet"
        numbers of 0 … 1 are colours (or greys) that are then turned into what the weights were trained on.

        Args:
            inputs: the pictures.
            key: for training: switches dropout on, and batch norms to the statistics of this batch, which
                they remember (:class:`labkit.models.norms.BatchNorm`).
            real: the examples that are not padding; None for all. Only they enter the statistics.
        """
        return self.from_map(self._map(inputs, key is not None, real), key=key)

    def feature_map(self, inputs: Num[Array, "b y x c"]) -> Float[Array, "b Y X o"]:
        """See :class:`labkit.models.conv.FeatureMaps`."""
        return self._map(inputs, False, None)

    def _map(
        self, inputs: Num[Array, "b y x c"], training: bool, real: Bool[Array, " b"] | None
    ) -> Float[Array, "b Y X o"]:
        x = conv.scaled(inputs, self.config.dtype)
        if self.config.pixels == "imagenet":
            x = _published(x)
        layers, normalise = iter(self.convs), iter(self.norms)
        for number, times in enumerate(self.config.stages):
            x = conv.max_pool(x) if number else x
            for _unused in range(times):
                x = next(layers)(x)
                x = jax.nn.relu(next(normalise)(x, training, real) if self.config.batch_norm else x)
        return x

    def from_map(self, x: Float[Array, "b Y X o"], *, key: PRNGKeyArray | None = None) -> Pooled:
        """One vector of every last map; ``key`` switches dropout on."""
        x = conv.max_pool(x)
        if not self.config.head_width:
            return Pooled(conv.global_mean(x))
        x = x.reshape(x.shape[0], -1)
        keys = [None] * 2 if key is None else list(jax.random.split(key))
        for layer, own in zip(self.dense, keys, strict=True):
            x = parts.dropout(jax.nn.relu(layer(x)), self.config.dropout, own)
        return Pooled(x.astype(jnp.float32))

    def layer_ids(self, path: tuple[str, ...]) -> int:
        """Layer index of a parameter, counted from the input, 1 … depth; ``path`` leads to it from this
        module down."""
        return int(path[1]) + 1 + (len(self.convs) if path[0] == "dense" else 0)


def _published(x: Float[Array, "b y x c"]) -> Float[Array, "b y x 3"]:
    """Colours, or greys, of 0 … 1 as the published weights see them."""
    colours = jnp.broadcast_to(x, (*x.shape[:3], 3))[..., ::-1]
    return (255 * colours.astype(jnp.float32) - jnp.asarray(MEAN)).astype(x.dtype)
