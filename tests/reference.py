"""The reference of the documentation: every public name and every command, from their docstrings and help.

``python -m tests.reference`` writes ``labkit/docs/reference/``; a test compares it with the code (``--check``).
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

import labkit as lk
from labkit.api import runs as api_runs
from labkit.core.config import Config
from labkit.core.registry import Registry

FOLDER = Path(__file__).parent.parent / "labkit" / "docs" / "reference"
#: Page → its title, the rooms of the names on it, and what else is described there.
PAGES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "data": ("Data", ("hub", "data"), ()),
    "models": ("Models", ("models",), ("labkit.models.base:ModelConfig",)),
    "tasks": (
        "Tasks",
        ("tasks",),
        ("labkit.tasks.base:Task", "labkit.tasks.base:Head", "labkit.tasks.base:MetricState"),
    ),
    "training": (
        "Training",
        ("planning", "api", "train", "profile", "choosing", "search", "more_labels"),
        ("labkit.train.experiment:Training", "labkit.api:Run", "labkit.api:Runs"),
    ),
    "evaluation": ("Evaluation", ("evaluate", "explain", "folds"), ()),
    "inference": (
        "Inference",
        ("inference", "smaller", "retrieval"),
        (
            "labkit.inference.smaller:QuantizedPredictor",
            "labkit.inference.smaller:PrunedPredictor",
            "labkit.retrieval.answers:TextAnswer",
            "labkit.retrieval.rerank:cross_encoder",
            "labkit.retrieval.rerank:pairs",
        ),
    ),
    "lab": ("The lab", ("app", "viz", "course", "broken_run", "i18n", "core"), ()),
}
#: Methods of every config, described once in concepts.md.
OF_CONFIG = {name for name in vars(Config) if not name.startswith("_")}
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([^`]+)`")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):\s*$", re.MULTILINE)


def main() -> None:
    pages = {"command-line.md": commands()}
    pages |= {f"{page}.md": "\n\n".join(api(page)) + "\n" for page in PAGES}
    if "--check" in sys.argv:
        stale = [name for name, text in pages.items() if (FOLDER / name).read_text("utf-8") != text]
        sys.exit(f"not that of the code: {', '.join(stale)}; run python -m tests.reference" if stale else 0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


# --- public names -----------------------------------------------------------------------------------------------


def room_of(name: str) -> str:
    """The room of the module that a public name comes from."""
    return lk.HOMES[name].partition(":")[0].split(".")[1]


def names_of(page: str) -> list[str]:
    """The public names described on a page, in the order of ``labkit.__all__``."""
    return [name for name in lk.__all__ if name in lk.HOMES and room_of(name) in PAGES[page][1]]


def api(page: str) -> Iterator[str]:
    """The paragraphs of a page."""
    title, _, others = PAGES[page]
    yield f"# {title}"
    yield "This page is generated from the docstrings (`import labkit as lk`)."
    if page in ("models", "tasks"):
        registry = getattr(lk, page)
        yield f"`lk.{page}` maps names to classes: `lk.{page}[name](field=value)`; `lk.{page}.register` adds your own."
        for name in registry:
            yield from described(registry[name], f'lk.{page}["{name}"]', brief=True)
    for name in names_of(page):
        thing = api_runs if name == "runs" else getattr(lk, name)  # lk.runs is a package that can be called
        yield from described(thing, f"lk.{name}", brief=room_of(name) == "app")
    for place in others:
        module, _, name = place.partition(":")
        yield from described(getattr(importlib.import_module(module), name), name)


def described(thing: Any, name: str, brief: bool = False) -> Iterator[str]:
    """The heading of a name, what it does, its settings and, unless ``brief``, its methods."""
    yield f"## {name}"
    if isinstance(thing, types.ModuleType):
        yield prose(thing.__doc__ or "")
        for panel in thing.HOMES:
            found = getattr(thing, panel)
            yield f"- `{name}.{panel}{signature(found)}`: {first_sentence(found)}"
        return
    if isinstance(thing, Registry):
        names = ", ".join(f"`{each}`" for each in thing)
        yield f"The {thing.noun} by name: {names}. `{name}.register(name, entry)` adds your own."
        return
    if not callable(thing):
        yield prose(type(thing).__doc__ or "")
        return
    settings = inspect.isclass(thing) and issubclass(thing, Config)
    if not settings:
        yield code(name, thing)
    doc = inspect.getdoc(thing) or ""
    if not doc.startswith(f"{getattr(thing, '__name__', '')}("):  # which dataclasses write themselves
        yield prose(doc)
    if settings and dataclasses.is_dataclass(thing) and dataclasses.fields(thing):
        yield fields(thing)
    if inspect.isclass(thing) and not issubclass(thing, BaseException) and not brief:
        yield from methods(thing, settings)


def methods(owner: type, settings: bool) -> Iterator[str]:
    """The public methods and properties of a class."""
    for name, member in inspect.getmembers(owner):
        own = any(name in vars(base) for base in owner.__mro__ if base.__module__.startswith("labkit."))
        if name.startswith("_") or not own or (settings and name in OF_CONFIG):
            continue
        plain = inspect.getattr_static(owner, name)
        of_class = isinstance(plain, classmethod | staticmethod)
        if not inspect.isroutine(member) and not hasattr(plain, "__get__"):
            continue  # a field or constant, which the docstring describes
        doc = inspect.getdoc(plain.__func__ if of_class else plain) or ""
        if not doc or (not callable(member) and isinstance(plain, types.MemberDescriptorType)):
            continue
        yield f"### {owner.__name__}.{name}"
        if callable(member):
            yield code(f"{owner.__name__}.{name}" if of_class else name, member)
        yield prose(doc)


def fields(owner: type) -> str:
    """The settings of a config, as a table."""
    lines = ["| setting | default | what it does |", "| --- | --- | --- |"]
    for field in dataclasses.fields(owner):  # type: ignore[arg-type]
        meta = field.metadata
        help_text = str(meta.get("help") or "").rstrip(".")
        help_text += "." if help_text else ""
        if choices := meta.get("choices"):
            help_text += f" One of {', '.join(f'`{choice!r}`' for choice in choices)}."
        elif meta.get("low") is not None or meta.get("high") is not None:
            ends = [f"{meta[end]:,}" if meta.get(end) is not None else "…" for end in ("low", "high")]
            help_text += f" From {ends[0]} to {ends[1]}." if ends[1] != "…" else f" At least {ends[0]}."
        lines.append(f"| `{field.name}` | {default_of(field)} | {cell(help_text.strip())} |")
    return "\n".join(lines)


def default_of(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        return f"`{type(made).__name__}()`" if isinstance(made, Config) else f"`{made!r}`"
    return "of the preset"


def code(name: str, thing: Any) -> str:
    """A call with its parameters, a line each where they do not fit one."""
    return f"```text\n{name}{signature(thing)}\n```"


def signature(thing: Any) -> str:
    found = inspect.signature(thing)
    parts, star = [], False
    for parameter in found.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            star = True
        elif parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        parts.append(one_parameter(parameter))
    returned = "" if inspect.isclass(thing) else f" -> {annotation(found.return_annotation)}"
    text = f"({', '.join(parts)}){returned.removesuffix(' -> ')}"
    return text if len(text) < 100 else "(\n" + "".join(f"    {part},\n" for part in parts) + f"){returned}"


def one_parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    kind = annotation(parameter.annotation)
    text = f"{stars}{parameter.name}{f': {kind}' if kind else ''}"
    if parameter.default is inspect.Parameter.empty:
        return text
    factory = type(parameter.default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS"
    default = "…" if factory else repr(parameter.default)
    return f"{text} = {default}" if kind else f"{text}={default}"


def annotation(kind: Any) -> str:
    if kind is inspect.Parameter.empty:
        return ""
    return kind if isinstance(kind, str) else inspect.formatannotation(kind)


# --- docstrings -------------------------------------------------------------------------------------------------


def prose(doc: str) -> str:
    """A docstring of the Google style as Markdown."""
    parts = _SECTION.split(inspect.cleandoc(_ROLE.sub(r"``\1``", doc)))
    text = [paragraphs(parts[0])]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        rest = re.split(r"\n(?=\S)", body, maxsplit=1)
        text += [f"**{title}**", items(rest[0]), *(paragraphs(each) for each in rest[1:])]
    return "\n\n".join(part for part in text if part).replace("``", "`")


def paragraphs(text: str) -> str:
    """Running text; a doctest becomes a block of code."""
    done = []
    for part in text.strip().split("\n\n"):
        if part.startswith(">>> "):
            lines = re.sub(r"^(>>>|\.\.\.) ?", "", part, flags=re.MULTILINE)
            done.append(f"```text\n{lines}\n```")
        else:
            done.append(part)
    return "\n\n".join(done)


def items(body: str) -> str:
    """The entries of a section: ``name: text`` with continuation lines indented further."""
    lines = inspect.cleandoc(body).split("\n")
    entries: list[str] = []
    for line in filter(str.strip, lines):
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    named = (re.sub(r"^([*\w][^:`(]*):(?=\s)", r"`\1`:", entry) for entry in entries)
    return "\n".join(f"- {entry}" for entry in named)


def first_sentence(thing: Any) -> str:
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return prose(re.split(r"(?<=\.)\s", text)[0])


# --- commands ---------------------------------------------------------------------------------------------------


def commands() -> str:
    """The page of the command line."""
    from labkit.cli.main import app

    root = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "This page is generated from the help of the commands (`labkit --help`).",
        "",
    ]
    lines += command_lines(root, "labkit")
    return "\n".join(lines)


def command_lines(command: Any, name: str) -> Iterator[str]:
    """A command, its arguments and options, then its subcommands."""
    yield f"## {name}\n"
    yield f"{prose(command.help or '')}\n"
    shown = [one for one in command.params if not one.hidden and one.name != "help"]
    if shown:
        kinds = typing.get_type_hints(command.callback)
        yield "| argument or option | what it does |\n| --- | --- |"
        for one in shown:
            yield f"| `{cell(usage(one, kinds[one.name]))}` | {cell(one.help or '')}{shown_default(one)} |"
        yield ""
    for key, inner in sorted(getattr(command, "commands", {}).items()):
        yield from command_lines(inner, f"{name} {key}")


def usage(one: Any, kind: Any) -> str:
    """How an argument or option is written, with a word for its value."""
    if one.param_type_name == "argument":
        return one.metavar or one.name.upper()
    name = ", ".join(one.opts)
    if one.is_flag:
        return name
    plain = {int: "NUMBER", float: "NUMBER", Path: "PATH"}
    value = next((plain[each] for each in (kind, *typing.get_args(kind)) if each in plain), "TEXT")
    return f"{name} {one.metavar or value}"


def shown_default(one: Any) -> str:
    plain = isinstance(one.default, str | int | float) and not isinstance(one.default, bool)
    return f" Default: `{one.default}`." if plain and one.default != "" else ""


def cell(text: str) -> str:
    """A text for a cell of a table."""
    return text.replace("|", r"\|")


if __name__ == "__main__":
    main()
