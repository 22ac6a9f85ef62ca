"""`labkit segment`: the class of every pixel of pictures, as masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import Folder, Plugins, output_folder, say, write_output
from labkit.core.errors import ConfigError
from labkit.i18n import _


def segment(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_FOLDER", help="Run id or name, or a folder with an exported model."),
    ],
    pictures: Annotated[list[str], typer.Argument(help="Files of pictures, or folders of them.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the masks (PNG; a pixel is the number of its class) and for overlays."),
    ] = None,
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Find the class of every pixel of PICTURES. The output has a line for each picture with the share of its pixels of
    each class."""
    from labkit import api as front
    from labkit.data.model_input import files_in
    from labkit.inference.segmenting import SegmentationPipeline
    from labkit.viz import media
    from labkit.viz.masks import mask_png, overlay

    files = [path for place in pictures for path in files_in(Path(place).expanduser(), "image")]
    if out is not None and len({path.stem for path in files}) < len(files):
        raise ConfigError(_("two pictures have the same name: segment them into folders of their own."))
    if (Path(model) / "labkit.toml").exists():
        pipeline = SegmentationPipeline(model, plugins=plugin or ())
        found = pipeline.segment(files)
    else:
        run = front.open_run(model, folder)
        found = run.segment(files)
    classes = found[0].classes
    say("\t".join(["file", *classes]))
    for path, each in zip(files, found, strict=True):
        say("\t".join([str(path), *(f"{share:.4f}" for share in each.shares.values())]))
        if out is None:
            continue
        write_output(output_folder(out) / f"{path.stem}.png", mask_png(each.mask, len(classes)))
        drawn = overlay(each.pixels, each.mask, len(classes))
        write_output(out / f"{path.stem}-overlay.png", media.png(drawn))
    if out is not None:
        listed = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
        say(f"{len(found)} masks in {out}: {listed}", err=True)
