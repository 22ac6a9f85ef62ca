"""`labkit generate-images`: new pictures of a trained model, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, Plugins, output_folder, say, write_output


def generate_images(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_FOLDER", help="Run id or name, or a folder with an exported model."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the pictures, 0000.png and so on.")],
    count: Annotated[int, typer.Option(help="Number of pictures.", min=1)] = 8,
    label: Annotated[
        str | None, typer.Option(help="Class of all pictures (default: the classes in turn).")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps from noise to a picture.", min=1)] = 25,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="Classifier-free guidance: 1 for none; more is more typical and less varied.", min=0
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Generate pictures. The output has a line for each file with its class."""
    from labkit import api as front
    from labkit.data.io.pixels import png
    from labkit.inference.image_generation import ImageGenerationPipeline
    from labkit.inference.registry import pipeline_of

    if Path(model).is_dir():
        tool = ImageGenerationPipeline(model, plugins=plugin or ())
    else:
        tool = pipeline_of(front.open_run(model, folder), ImageGenerationPipeline)
    made = tool.generate(count, label, steps=steps, guidance=guidance, seed=seed)
    output_folder(out)
    for number, pixels in enumerate(made.pixels):
        place = out / f"{number:04d}.png"
        write_output(place, png(pixels))
        say("\t".join([str(place), *made.labels[number : number + 1]]))
