"""Image generation in the step Predict: new pictures of a class, and the film from noise to each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import ipywidgets as widgets
import numpy as np

from labkit.app.widgets.answers import Asking
from labkit.app.widgets.download import Download
from labkit.core import html, source_code
from labkit.core.html import Html
from labkit.data.io.pixels import png
from labkit.inference.image_generation import GeneratedImages, ImageGenerationPipeline
from labkit.viz import media

if TYPE_CHECKING:
    from datasets import Dataset

#: Pictures of the film from noise to the first picture; side of a picture on the screen.
FRAMES, SIZE = 8, 96


class ImageRequest(NamedTuple):
    """The arguments of :meth:`~labkit.inference.image_generation.ImageGenerationPipeline.generate`."""

    n: int
    label: str | None
    settings: dict[str, Any]


class GenerateForm(Asking):
    """A model makes new pictures."""

    verb = "generate_images_on"
    tool: ImageGenerationPipeline

    def build(self) -> Sequence[widgets.Widget]:
        every = [(self.word("every_class"), None), *((name, name) for name in self.tool.classes)]
        self.label = widgets.Dropdown(options=every, description=self.word("class"))
        self.count = widgets.BoundedIntText(8, min=1, max=64, description=self.word("pictures"))
        self.steps = widgets.BoundedIntText(25, min=1, max=200, description=self.word("sampling_steps"))
        guided = bool(self.tool.classes) and self.tool.head.config.class_dropout > 0
        self.guidance = widgets.FloatSlider(
            2.0 if guided else 1.0,
            min=0,
            max=8,
            step=0.5,
            description=self.word("guidance"),
            continuous_update=False,
        )
        self.seed = widgets.BoundedIntText(0, min=0, max=2**31 - 1, description=self.word("seed"))
        self.link = Download(label=self.word("download_pictures"))
        self.guidance.layout.display = "" if guided else "none"
        self.label.layout.display = "" if self.tool.classes else "none"
        return self.label, self.count, self.steps, self.guidance, self.seed, self.link

    def take(self, part: Dataset, place: int) -> None:
        """The class of a row."""
        if self.tool.classes:
            self.label.value = self.tool.classes[int(part[place]["label"])]

    def asked(self) -> ImageRequest:
        settings = {"steps": self.steps.value, "guidance": self.guidance.value, "seed": self.seed.value}
        return ImageRequest(self.count.value, self.label.value, settings)

    def answer(self, asked: tuple[Any, ...]) -> GeneratedImages:
        count, label, settings = asked
        return self.tool.generate(count, label, **settings, film=True)

    def shown(self, asked: tuple[Any, ...], found: GeneratedImages) -> Html:
        self.link.offer(lambda: png(found.sheet()), "pictures.png")
        names = found.labels or ("",) * len(found)
        parts = [media.gallery(list(zip(found.pixels, names, strict=True)), SIZE)]
        if found.film is not None:
            frames = np.unique(np.linspace(0, len(found.film[0]) - 1, FRAMES).round().astype(int))
            film = [
                (found.film[0][place], f"{place} / {len(found.film[0]) - 1}") for place in frames.tolist()
            ]
            parts += [html.heading(self.word("from_noise"), 4), media.gallery(film, SIZE)]
        return html.joined(*parts)

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        count, label, settings = asked
        return [source_code.line(source_code.call("run.generate_images", count, label, **settings))]
