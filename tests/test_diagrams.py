"""The diagrams of the course: well-formed, in both languages, within their frames, each in a lesson."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

import labkit as lk
from labkit.course.diagrams import DIAGRAMS

from .lessons import LESSONS, read, source

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_is_well_formed_and_within_its_frame(
    name: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_LANGUAGE", language)
    made = lk.diagram(name)
    root = ElementTree.fromstring(made.svg)
    wide, high = float(root.get("width", 0)), float(root.get("height", 0))
    assert root.findtext(f"{SVG}title") == made.title and (re.search("[一-鿿]", made.title) is not None) == (
        language == "zh"
    )
    for box in root.iter(f"{SVG}rect"):
        x, y = float(box.get("x", 0)), float(box.get("y", 0))
        assert (
            x >= 0
            and y >= 0
            and x + float(box.get("width", 0)) <= wide
            and y + float(box.get("height", 0)) <= high
        )
    for word in root.iter(f"{SVG}text"):
        text, size = word.text or "", float(word.get("font-size", 13))
        length = sum(size if ord(letter) > 0x2E80 else 0.6 * size for letter in text)
        at = (
            float(word.get("x", 0))
            - {"middle": 0.5, "end": 1.0}.get(word.get("text-anchor", ""), 0.0) * length
        )
        assert at > -6 and at + length < wide + 6, text


def test_every_diagram_is_in_a_lesson() -> None:
    shown = [
        found
        for path in LESSONS
        if not path.name.endswith(".zh.ipynb")
        for cell in read(path)["cells"]
        for found in re.findall(r'lk\.diagram\("([\w-]+)"\)', source(cell))
    ]
    assert sorted(shown) == sorted(DIAGRAMS) and len(shown) >= 12


def test_an_unknown_diagram_is_refused_with_the_nearest() -> None:
    with pytest.raises(lk.LabkitError, match=r"unknown diagram 'atention'.*Did you mean 'attention'"):
        lk.diagram("atention")
