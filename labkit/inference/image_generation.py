"""Image generation: new pictures from noise, by a model of flow matching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.config import checked_seed
from labkit.core.errors import ConfigError, nearest
from labkit.data.io.pixels import png
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline
from labkit.tasks.generate_images import GenerateImages, VelocityField
from labkit.train.processors import ImageProcessor

#: Pictures in one compiled call: as many of the first as are needed for few.
FEW, BATCH = 8, 64
#: Most pictures of one call, and most steps of a picture.
MOST, MOST_STEPS = 100_000, 1000


@dataclass(frozen=True, eq=False)
class GeneratedImages:
    """New pictures.

    Attributes:
        pixels: u8[n, height, width, channels].
        film: u8[n, steps + 1, height, width, channels], from noise to each picture; None unless it was wanted.
        labels: class of each picture; empty where the model has none.
        seed: that they were made from.
    """

    pixels: np.ndarray
    film: np.ndarray | None
    labels: tuple[str, ...]
    seed: int

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        count, high, wide = self.pixels.shape[:3]
        shown = f", {', '.join(dict.fromkeys(self.labels))}" if self.labels else ""
        return f"<{type(self).__name__}: {count} pictures of {high} x {wide} pixels{shown}>"

    def sheet(self, columns: int = 8, side: int = 72) -> np.ndarray:
        """The first 64 pictures in rows, u8[height, width, channels]; pixels are repeated up to about ``side``."""
        shown = self.pixels[:64]
        scale, gap = max(1, side // max(shown.shape[1:3])), 4
        large = np.pad(shown.repeat(scale, 1).repeat(scale, 2), ((0, 0), (0, gap), (0, gap), (0, 0)))
        across = min(columns, len(large))
        large = np.concatenate([large, np.zeros((-len(large) % across, *large.shape[1:]), np.uint8)])
        rows = large.reshape(-1, across, *large.shape[1:]).swapaxes(1, 2)
        return rows.reshape(rows.shape[0] * rows.shape[1], -1, large.shape[-1])

    def _repr_png_(self) -> bytes:
        return png(self.sheet())


class ImageGenerationPipeline(Pipeline):
    """A model of the task "generate-images" that a run has written or exported.

    Attributes:
        classes: names of the classes that it generates; empty where it was trained without.
        shape: (height, width, channels) of its pictures.
    """

    task = GenerateImages
    head: VelocityField
    processor: ImageProcessor

    def __init__(self, *given: Any, **settings: Any):
        super().__init__(*given, **settings)
        assert self.processor.shape is not None, "a trained model has it"
        self.classes, self.shape = self.head.classes, self.processor.shape
        self._programs: dict[tuple[int, bool], Any] = {}  # of each number of steps, with a film or without

    def __repr__(self) -> str:
        high, wide = self.shape[:2]
        return f"<{type(self).__name__}: {high} x {wide} pixels, {', '.join(self.classes) or 'no classes'}>"

    def _used(self, module: Any) -> Any:
        return module

    def generate(
        self, n: int | None = None, label: str | Sequence[str] | None = None, *, steps: int = 25,
        guidance: float | None = None, seed: int = 0, film: bool = False,
    ) -> GeneratedImages:  # fmt: skip
        """New pictures. A seed gives the same pictures, up to rounding, however many are made with it.

        Args:
            n: how many. Default: 8, or as many as there are labels.
            label: the class of all of them, or of each. Default: the classes in turn.
            steps: of Heun's method; each but the last evaluates the model twice.
            guidance: classifier-free guidance: 1 for none; more gives pictures that are more typical and less varied.
                Default: 2, or 1 where the model was trained with ``class_dropout=0``.
            seed: of the noise.
            film: also return the picture after each step.

        Raises:
            ConfigError: an unknown class, another number of classes than pictures, or a value out of range.
        """
        guided = self.head.config.class_dropout > 0
        guidance = (2.0 if guided else 1.0) if guidance is None else guidance
        for name, value, low, high in (("steps", steps, 1, MOST_STEPS), ("guidance", guidance, 0, 100)):
            _check(name, value, low, high)
        if guidance != 1 and self.classes and not guided:
            raise ConfigError(
                _("guidance = {guidance}: this model was trained with class_dropout = 0, so that it has not learned "
                  "pictures of no class. Use guidance=1."),
                guidance=guidance,
            )  # fmt: skip
        names = self._labels(n, label)
        count = len(names)
        numbers = np.array([self.classes.index(name) if name else 0 for name in names], np.int32)
        key, program = jax.random.key(checked_seed(seed)), self._program(int(steps), bool(film))
        size = FEW if count <= FEW else BATCH
        made = []
        for start in range(0, count, size):
            place = np.arange(start, start + size, dtype=np.int32)
            label_part = np.resize(numbers[start : start + size], size)
            frames = np.asarray(program(key, place, label_part, np.float32(guidance)))
            made.append(frames[:, : count - start])
        frames = np.concatenate(made, axis=1).swapaxes(0, 1)
        return GeneratedImages(
            frames[:, -1], frames if film else None, names if self.classes else (), int(seed)
        )

    __call__ = generate

    def _labels(self, n: int | None, label: str | Sequence[str] | None) -> tuple[str, ...]:
        """The class of each picture; "" where the model has none."""
        several = label is not None and not isinstance(label, str)
        count = n if n is not None else (len(label) if several else 8)  # type: ignore[arg-type]
        _check("n", count, 1, MOST)
        if label is None:
            return tuple(
                self.classes[place % len(self.classes)] if self.classes else "" for place in range(int(count))
            )
        if not self.classes:
            raise ConfigError(_("this model was trained without classes: leave label out."))
        names = tuple(map(str, label)) if several else (str(label),) * int(count)
        if unknown := [name for name in names if name not in self.classes]:
            raise ConfigError(
                _("unknown class {name!r}.{hint} Known: {known}."),
                name=unknown[0], hint=nearest(unknown[0], self.classes), known=", ".join(self.classes),
            )  # fmt: skip
        if len(names) != count:
            raise ConfigError(
                _("{n} pictures with {count} labels: give one for each."), n=count, count=len(names)
            )
        return names

    def _program(self, steps: int, film: bool) -> Any:
        """The compiled sampler of a number of steps: key, numbers of the pictures, classes, guidance → bytes."""
        if (steps, film) not in self._programs:
            head, shape = self.head, self.shape

            def sample(module: Any, key: Any, place: Any, label: Any, guidance: Any) -> jax.Array:
                noise = jax.vmap(lambda n: jax.random.normal(jax.random.fold_in(key, n), shape))(place)
                frames = head.sample(module, noise, label, guidance, steps, film)
                return jnp.round(jnp.clip(0.5 * frames + 0.5, 0, 1) * 255).astype(jnp.uint8)

            self._programs[steps, film] = self.compiled(sample)
        return self._programs[steps, film]


def _check(name: str, value: object, low: float, high: float) -> None:
    """Raise :class:`ConfigError` for a setting that is no number of a range; a number of pictures or steps is whole."""
    whole = name != "guidance"
    kinds = (int, np.integer) if whole else (int, float, np.number)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise ConfigError(
            _("{name} = {value!r} must be a number from {low} to {high}."),
            name=name,
            value=value,
            low=low,
            high=high,
        )
