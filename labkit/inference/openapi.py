"""The OpenAPI description of an endpoint, and a page that shows it without any other file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

_TEXTS = {"type": "array", "minItems": 1, "items": {"type": "string"}}


def document(
    models: Mapping[str, Sequence[str]], version: str, examples: int, characters: int
) -> dict[str, Any]:
    """The OpenAPI 3.1 document.

    Args:
        models: name → classes (or names of the predicted numbers); the first one answers ``/predict``.
        version: of labkit.
        examples, characters: maximum examples per request, and characters per text.
    """
    texts = {**_TEXTS, "maxItems": examples, "items": {"type": "string", "maxLength": characters}}
    some: dict[str, Any] = {"type": "array", "minItems": 1, "maxItems": examples}

    def body(name: str, items: dict[str, Any], **more: Any) -> dict[str, Any]:
        properties = {name: items, **more}
        return {"type": "object", "required": [name], "properties": properties, "additionalProperties": False}

    schemas: dict[str, Any] = {
        "Request": {
            "oneOf": [
                body("texts", texts, pairs=texts),
                body("inputs", {**some, "items": {}, "description": "Images or features as nested lists."}),
                body("records", {**some, "items": {"type": "object"}, "description": "Rows by column name."}),
            ]
        },
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    }
    paths: dict[str, Any] = {}
    for number, (name, classes) in enumerate(models.items()):
        answer = _answer(classes)
        for path in (["/predict"] if number == 0 else []) + [f"/models/{name}/predict"]:
            paths[path] = {"post": _predict(f"Predict with {name}", path, answer)}
    paths |= {
        "/models": {"get": _get("The models and their classes", "models", "application/json")},
        "/metrics": {"get": _get("Metrics for Prometheus", "metrics", "text/plain")},
        "/openapi.json": {"get": _get("This document", "openapi", "application/json")},
        "/health/live": {
            "get": {**_get("Whether the server responds", "live", "application/json"), "security": []}
        },
        "/health/ready": {
            "get": {**_get("Whether it accepts requests", "ready", "application/json"), "security": []}
        },
    }
    paths["/health/ready"]["get"]["responses"]["503"] = _refusal("The endpoint is closing.")
    scheme = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "labkit endpoint", "version": version},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": scheme},
    }


def _answer(classes: Sequence[str]) -> dict[str, Any]:
    number = {"type": "number"}
    named = {"type": "object", "properties": {name: number for name in classes}}
    prediction = {
        "type": "object",
        "properties": {
            "label": {"type": "string"}, "confidence": number, "probability": named,
            "labels": {"type": "array", "items": {"type": "string"}}, "value": named,
        },
    }  # fmt: skip
    notes = {"type": "array", "items": {"type": "string"}}
    properties = {"predictions": {"type": "array", "items": prediction}, "notes": notes}
    return {"type": "object", "required": ["predictions"], "properties": properties}


def _predict(summary: str, path: str, answer: dict[str, Any]) -> dict[str, Any]:
    request = {"required": True, "content": _json({"$ref": "#/components/schemas/Request"})}
    wrong = {
        "400": "The request is not valid JSON or HTTP.", "401": "The token is missing or wrong.",
        "408": "The request did not arrive in time.", "411": "The header Content-Length is missing.",
        "413": "The body is too large.", "415": "The body is not JSON.",
        "421": "The endpoint has another name.", "422": "The examples do not fit the model.",
        "429": "Too many requests of this client.", "503": "The endpoint is overloaded or closing.",
    }  # fmt: skip
    responses = {"200": {"description": "A prediction per example.", "content": _json(answer)}}
    responses |= {status: _refusal(text) for status, text in wrong.items()}
    identifier = re.sub(r"\W+", "_", path.strip("/"))
    return {"summary": summary, "operationId": identifier, "requestBody": request, "responses": responses}


def _get(summary: str, identifier: str, media: str) -> dict[str, Any]:
    content: dict[str, Any] = {media: {"schema": {}}}
    responses = {
        "200": {"description": summary, "content": content},
        "401": _refusal("The token is missing."),
    }
    return {"summary": summary, "operationId": identifier, "responses": responses}


def _refusal(text: str) -> dict[str, Any]:
    return {"description": text, "content": _json({"$ref": "#/components/schemas/Error"})}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


@cache
def page() -> bytes:
    """The HTML page; it loads the document with the token that is entered."""
    return resources.files("labkit.inference").joinpath("openapi.html").read_bytes()


@cache
def policy() -> str:
    """The content security policy of the page: its own script and requests to its own server, nothing else."""
    found = re.search(rb"<script>(.*?)</script>", page(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(found[1] if found else b"").digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


def as_json(values: object) -> bytes:
    """UTF-8 JSON."""
    return json.dumps(values).encode()
