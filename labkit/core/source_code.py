"""Generated Python code, built as a syntax tree with checked argument names and literal values."""

from __future__ import annotations

import ast
import keyword
import math
from collections.abc import Iterable

from labkit.core.errors import ConfigError
from labkit.i18n import _

#: How deep lists and tables of a literal may be nested.
DEPTH = 20


def call(function: str | ast.expr, /, *values: object, **named: object) -> ast.Call:
    """The call of a function with literals for arguments, or with expressions that were built before.

    Args:
        function: a dotted name, or an expression.

    Raises:
        ConfigError: a value is not a literal, or an argument's name is not an identifier.
    """
    for name in named:
        if not (name.isascii() and name.isidentifier() and not keyword.iskeyword(name)):
            raise ConfigError(_("{name!r} is not a valid argument name."), name=name[:80])
    keywords = [ast.keyword(name, literal(value)) for name, value in named.items()]
    return ast.Call(_named(function), [literal(value) for value in values], keywords)


def item(mapping: str, key: str) -> ast.Subscript:
    """The entry of a mapping: ``lk.models['bert']``."""
    return ast.Subscript(_named(mapping), literal(key), ast.Load())


def variable(name: str) -> ast.expr:
    """A variable as an argument of a call."""
    return _named(name)


def literal(value: object, depth: int = 0) -> ast.expr:
    """A plain value as an expression that :func:`ast.literal_eval` reads back. Expressions are returned
    unchanged.

    Raises:
        ConfigError: the value is not plain, not finite, nested too deeply, or an integer too long to be
            written.
    """
    import numpy as np  # here: the command line answers without it

    if isinstance(value, ast.expr):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple) and depth < DEPTH:
        parts = [literal(part, depth + 1) for part in value]
        return ast.List(parts, ast.Load()) if isinstance(value, list) else ast.Tuple(parts, ast.Load())
    if isinstance(value, dict) and depth < DEPTH:
        return ast.Dict(
            [literal(key, DEPTH) for key in value], [literal(part, depth + 1) for part in value.values()]
        )
    for kind in (bool, str, int, float):
        if isinstance(value, kind):
            value = kind(value) if kind is not str else str.__str__(value)
            if (kind is int and value.bit_length() > 1000) or (kind is float and not math.isfinite(value)):
                break
            return ast.Constant(value)
    if value is None:
        return ast.Constant(None)
    raise ConfigError(
        _("a value of type {type} cannot be written as Python code."), type=type(value).__name__
    )


def assign(name: str, value: ast.expr) -> str:
    """The line ``name = value``."""
    return f"{ast.unparse(_named(name))} = {ast.unparse(value)}"


def import_of(module: str) -> str:
    """The import of a module.

    Raises:
        ConfigError: its name is no dotted name.
    """
    if not all(
        name.isascii() and name.isidentifier() and not keyword.iskeyword(name) for name in module.split(".")
    ):
        raise ConfigError(_("{name!r} is not the name of a module."), name=module[:80])
    return ast.unparse(ast.Import([ast.alias(module)]))


def line(value: ast.expr) -> str:
    """An expression as a line."""
    return ast.unparse(value)


def program(lines: Iterable[str]) -> str:
    """Lines made here, after the import of labkit."""
    return "\n".join(["import labkit as lk", "", *lines]) + "\n"


def _named(function: str | ast.expr) -> ast.expr:
    if isinstance(function, ast.expr):
        return function
    first, *rest = function.split(".")
    found: ast.expr = ast.Name(first, ast.Load())
    for name in rest:
        found = ast.Attribute(found, name, ast.Load())
    return found
