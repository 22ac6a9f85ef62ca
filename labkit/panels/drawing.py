"""The actual stack of a model, from the shapes of its parameters: nothing is allocated."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from labkit.panels import charts
from labkit.panels.pieces import Html

#: Part of a parameter's name → (rank in the stack, key of its name, colour).
_PARTS = (
    ("head", 9, "block_head", 2),
    ("pooler", 8, "block_pooler", 4),
    ("dense", 7, "block_dense", 4),
    ("decoder", 5, "block_decoder", 3),
    ("encoder", 4, "block_encoder", 1),
    ("layers", 4, "block_layers", 1),
    ("stages", 4, "block_conv", 3),
    ("convs", 4, "block_conv", 3),
    ("blocks", 4, "block_residual", 3),
    ("stem", 3, "block_stem", 6),
    ("embedding", 1, "block_embedding", 5),
    ("word", 1, "block_embedding", 5),
    ("position", 1, "block_embedding", 5),
    ("norm", 6, "block_norm", 7),
)
_OTHER = (6, "block_other", 7)


class Block(NamedTuple):
    """One block of the stack.

    Attributes:
        key: what it is, a word of the table.
        number: its place among its kind, or how many like it are stacked.
        stacked: whether ``number`` counts layers of one shape.
        shape: of its largest matrices, as text.
        parameters: how many, in all its layers.
        colour: 1 … 7.
    """

    key: str
    number: int
    stacked: bool
    shape: str
    parameters: int
    colour: int


def blocks(shapes: dict[str, tuple[int, ...]]) -> list[Block]:
    """The stack from below: parameter name ("trunk/layers/query/kernel") → shape."""
    groups: dict[tuple[Any, ...], dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        groups.setdefault(_group(name), {})[name] = shape
    made = []
    for (_, key, place, colour), members in sorted(groups.items(), key=lambda item: (item[0][0], item[0][2])):
        stacked = place < 0 and key in ("block_layers", "block_encoder", "block_decoder")
        depth = next(iter(members.values()))[0] if stacked else 0
        inner = {name: shape[1:] if stacked else shape for name, shape in members.items()}
        count = sum(math.prod(shape) for shape in members.values())
        made.append(Block(key, depth if stacked else place + 1, stacked, _shape(inner), count, colour))
    return made


def drawn(found: list[Block], word: Callable[..., str], ends: tuple[str, str]) -> Html:
    """The stack as a picture; ``ends`` are what goes in and what comes out."""
    several = {block.key for block in found if block.number > 1 and not block.stacked}
    lines = [(ends[0], "", "", 7)]
    for block in found:
        name = word(block.key)
        if block.stacked:
            name += f" × {block.number}"
        elif block.key in several:
            name += f" {block.number}"
        lines.append((name, block.shape, f"{block.parameters:,}", block.colour))
    lines.append((ends[1], "", "", 7))
    return charts.stack(lines, word("drawing"))


def _group(name: str) -> tuple[int, str, int, int]:
    """(rank, key, place, colour) of the block that a parameter belongs to."""
    parts = [part for part in name.split("/") if part != "trunk"]
    place = next((int(part) for part in parts if part.isdigit()), -1)
    for part in parts[:-1]:
        for known, rank, key, colour in _PARTS:
            if re.match(known, part):
                if key == "block_layers" and place >= 0:  # a perceptron's: not one stack, but each of its own shape
                    key, colour = "block_dense", 4
                return rank, key, place if rank not in (1, 9) else -1, colour
    return _OTHER[0], _OTHER[1], place, _OTHER[2]


def _shape(members: dict[str, tuple[int, ...]]) -> str:
    """The kernels of a block: ``3 × 3, 64 → 128``; of a layer of many parts its distinct matrices."""
    found: dict[str, None] = {}
    for name, shape in members.items():
        last = name.rsplit("/", 1)[-1]
        if last in ("kernel", "embedding") and len(shape) >= 2:
            window = " × ".join(map(str, shape[:-2]))
            arrow = "×" if last == "embedding" else "→"
            found[f"{window + ', ' if window else ''}{shape[-2]:,} {arrow} {shape[-1]:,}"] = None
    return "; ".join(list(found)[:3]) or "; ".join(str(shape) for shape in list(members.values())[:1])
