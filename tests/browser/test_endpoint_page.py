"""The OpenAPI page of an endpoint in Chromium: it shows the paths and sends a request, and loads nothing else."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.inference.predictor import NumericPrediction
from labkit.inference.server import Endpoint

from .jupyter import Lab

pytestmark = pytest.mark.browser


class Model:
    """Predicts the length of a text."""

    classes, columns, processor = ("length",), (), SimpleNamespace(modality="text")

    values_of = staticmethod(asdict)

    def predictions(self, examples: Any, pairs: Any) -> list[NumericPrediction]:
        return [NumericPrediction({"length": float(len(text))}) for text in examples]


def test_the_page_shows_the_paths_and_sends_a_request(lab: Lab) -> None:
    with Endpoint(Model(), rate=1000) as endpoint:  # type: ignore[arg-type]
        page = lab.browser.new_page()
        asked: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{endpoint.url}/docs")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Show the API").click()
        page.get_by_text("the header Authorization: Bearer TOKEN is missing or wrong.").wait_for()
        page.get_by_label("Token").fill(endpoint.token)
        page.get_by_role("button", name="Show the API").click()
        page.locator("summary", has_text="/predict").first.click()
        page.get_by_label("Request").first.fill('{"texts": ["four"]}')
        page.get_by_role("button", name="Send").first.click()
        page.locator("pre", has_text='{"length": 4.0}').wait_for()
        assert errors == [] and all(url.startswith(endpoint.url) for url in asked)
        page.close()
