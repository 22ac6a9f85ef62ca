"""Bytes that a training step moves, counted in the program that XLA has compiled. Independent of timing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from labkit.train.context import shapes_of

from . import arithmetic, cases

_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64}
_FREE = frozenset({"parameter", "get-tuple-element", "tuple", "constant", "bitcast", "after-all"})
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_LINE = re.compile(r"(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)")


class _Operation(NamedTuple):
    name: str
    shape: str
    kind: str
    operands: list[str]
    line: str


def step(shape: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Bytes that the step of the BERT case reads and writes, for its most frequent shape or another, and per real
    token."""
    with cases.prepared("bert") as setup:
        batches, steps = setup.batches, setup.steps
        found: dict[tuple[int, ...], list[float]] = {}
        for batch in batches:
            found.setdefault(cases.width(batch), []).append(float(arithmetic.lengths_of(batch).sum()))
        shape = shape or max(found, key=lambda each: len(found[each]))
        (given,) = [each for each in shapes_of(batches, steps) if tuple(each["ids"].shape) == tuple(shape)]
        compiled = steps.compile("train", steps.abstract_state(), given)
        depth = setup.experiment.model.depth
        total = moved(compiled.as_text(), depth)
        tokens = sum(found[shape]) / len(found[shape])
    return {"value": total, "per_token": total / tokens, "shape": list(shape), "real_tokens": tokens}


def moved(text: str, depth: int) -> float:
    """Bytes of the operands and results of every operation of an optimized HLO, bodies of loops times their trips.

    In a loop over ``depth`` layers, an operation on one slice of a stack of them counts that slice alone.
    """
    computations, entry = _computations(text)
    return sum(_bytes(computations, entry, 1.0, depth))


def _bytes(computations: dict[str, list[str]], name: str, times: float, depth: int) -> Iterator[float]:
    operations = list(_operations(computations[name]))
    shapes = {operation.name: operation.shape for operation in operations}
    for operation in operations:
        if operation.kind in _FREE:
            continue
        if operation.kind == "while":
            body = _named("body", operation.line)
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', operation.line)
            yield from _bytes(computations, body, times * (int(trips[1]) if trips else 1), depth)
            continue
        if operation.kind == "call":
            yield from _bytes(computations, _named("to_apply", operation.line), times, depth)
            continue
        written, sides = _size(operation.shape)
        updates = "dynamic-update-slice" in operation.name
        total = written / depth if updates else written
        for operand in operation.operands:
            size, own = _size(shapes.get(operand, ""))
            if updates and own == sides:
                continue
            slices = own and own[0] == depth and ("slice" in operation.name or times >= depth)
            total += size / depth if slices else size
        yield total * times


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Name → lines of every computation, and the name of the one that is called."""
    found: dict[str, list[str]] = {}
    current, entry = "", ""
    for line in text.splitlines():
        if match := _HEAD.match(line):
            current = match[2]
            found[current] = []
            entry = current if match[1] else entry
        elif line.startswith("}"):
            current = ""
        elif current:
            found[current].append(line.strip())
    return found, entry


def _operations(lines: list[str]) -> Iterator[_Operation]:
    for line in lines:
        if match := _LINE.match(line):
            name, shape, kind, rest = match.groups()
            depth, end = 1, len(rest)
            for place, letter in enumerate(rest):
                depth += (letter == "(") - (letter == ")")
                if not depth:
                    end = place
                    break
            yield _Operation(name, shape, kind, re.findall(r"%([\w.\-]+)", rest[:end]), line)


def _named(what: str, line: str) -> str:
    match = re.search(rf"{what}=%?([\w.\-]+)", line)
    assert match is not None
    return match[1]


def _size(shape: str) -> tuple[float, tuple[int, ...]]:
    """Bytes and sides of an array; of a tuple, the bytes of its arrays."""
    total, sides = 0.0, ()
    for kind, listed in re.findall(r"(\w+)\[([\d,]*)\]", shape):
        bits = _BITS.get(kind) or (int(kind[1:]) if re.fullmatch(r"[us]\d+", kind) else 0)
        sides = tuple(int(side) for side in listed.split(",") if side)
        count = bits / 8
        for side in sides:
            count *= side
        total += count
    return total, sides
