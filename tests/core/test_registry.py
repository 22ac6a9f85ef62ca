"""Registries: names that are imported late and are helpful when misspelt."""

from __future__ import annotations

import sys
from fractions import Fraction

import pytest

from labkit.core.errors import ConfigError, nearest
from labkit.core.registry import Registry

shapes = Registry("shape", {"fraction": "fractions:Fraction", "late": "this:s"})


def test_an_entry_is_the_object_it_names() -> None:
    assert shapes["fraction"] is Fraction


def test_nothing_is_imported_before_it_is_asked_for(capsys) -> None:
    sys.modules.pop("this", None)
    assert (
        list(shapes) == ["fraction", "late"] and len(shapes) == 2 and "late" in shapes and "lat" not in shapes
    )
    assert repr(shapes) == "<shapes: fraction, late>"
    assert "this" not in sys.modules
    assert isinstance(shapes["late"], str) and "this" in sys.modules


def test_a_misspelt_name_gets_the_nearest_and_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        shapes["fractoin"]
    assert str(caught.value) == "unknown shape 'fractoin'. Did you mean 'fraction'? Known: fraction, late."


def test_the_name_of_a_class_or_of_an_instance() -> None:
    assert shapes.name_of(Fraction) == shapes.name_of(Fraction(1, 2)) == "fraction"
    with pytest.raises(ConfigError, match=r"dict is not a registered shape\. Known: fraction, late\."):
        shapes.name_of({})


def test_nearest_is_silent_when_nothing_is_close() -> None:
    assert nearest("frction", ["fraction"]) == " Did you mean 'fraction'?"
    assert nearest("xyz", ["fraction"]) == "" and nearest("x", []) == ""
