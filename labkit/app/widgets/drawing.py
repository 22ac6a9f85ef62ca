"""Drawing of a model's layers from the shapes of its parameters, without allocating them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from labkit.core.html import Html, safe
from labkit.core.text import escape, one_line
from labkit.models.base import DrawingPart

_HEAD = DrawingPart("head", 9, "block_head", 2)
_OTHER = DrawingPart("", 6, "block_other", 7)


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


def blocks(shapes: dict[str, tuple[int, ...]], parts: Sequence[DrawingPart]) -> list[Block]:
    """The layers from input to output.

    Args:
        shapes: parameter name ("backbone/layers/query/kernel") → shape.
        parts: of the architecture (:attr:`labkit.models.base.ModelConfig.drawing`).
    """
    groups: dict[tuple[Any, ...], dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        groups.setdefault(_group(name, (_HEAD, *parts)), {})[name] = shape
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
    lines = [(ends[0], "", "", _OTHER.colour)]
    for block in found:
        name = word(block.key)
        if block.stacked:
            name += f" × {block.number}"
        elif block.key in several:
            name += f" {block.number}"
        lines.append((name, block.shape, f"{block.parameters:,}", block.colour))
    lines.append((ends[1], "", "", _OTHER.colour))
    each = "".join(
        f'<div class="lk-block" style="border-color:var(--lk-fill-{colour})"><b>{safe(one_line(name, 46))}</b>'
        f"<span>{count}</span><small>{safe(one_line(shape, 44))}</small></div>"
        for name, shape, count, colour in reversed(lines)
    )
    said = "; ".join(" ".join(filter(None, line[:3])) for line in lines)
    label = escape(f"{word('drawing')}. {said}")
    return Html(f'<div class="lk-stack" role="img" aria-label="{label}">{each}</div>')


def _group(name: str, known: Sequence[DrawingPart]) -> tuple[int, str, int, int]:
    """(rank, key, place, colour) of the block that a parameter belongs to."""
    path = [part for part in name.split("/") if part != "backbone"]
    place = next((int(part) for part in path if part.isdigit()), -1)
    found = next((part for step in path[:-1] for part in known if step.startswith(part.prefix)), _OTHER)
    return found.rank, found.word, place if found.rank not in (1, 9) else -1, found.colour


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
