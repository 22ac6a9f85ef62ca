"""Renders chat templates, as a process of its own with limits: ``python chat_render.py < request``.

 A template comes with a model from outside. Jinja's sandbox keeps it from everything but its arguments; the
limits of the process keep it from filling the memory and from running endlessly. Imports nothing of labkit,
to start fast.
"""

from __future__ import annotations

import datetime
import json
import sys
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY, SECONDS = 1 << 30, 20  # bytes and processor time of the process


def limit() -> None:
    """Limit this process, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: the caller's time limit alone
        return
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def refuse(text: str) -> None:
    """``raise_exception`` of templates."""
    raise TemplateError(text)


def to_json(value: Any, indent: int | None = None) -> str:
    """The filter ``tojson`` as transformers has it: without escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def render(template: str, conversations: list[Any], names: dict[str, Any], most: int) -> list[str]:
    """The texts of conversations, of ``most`` characters each at most."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    compiled, texts = environment.from_string(template), []
    for messages in conversations:
        parts: list[str] = []
        size = 0
        for part in compiled.generate(messages=messages, **names):
            parts.append(part)
            if (size := size + len(part)) > most:
                raise TemplateError(f"the text is longer than {most:,} characters")
        texts.append("".join(parts))
    return texts


if __name__ == "__main__":
    limit()
    request = json.load(sys.stdin)
    try:
        answer: dict[str, Any] = {"texts": render(**request)}
    except (
        TemplateError,
        MemoryError,
        RecursionError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        answer = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
    json.dump(answer, sys.stdout)
