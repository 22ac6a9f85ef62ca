"""The Chinese catalogue: whole, with the same placeholders, and compiled; Babel is the reference."""

from __future__ import annotations

import ast
import io
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.frontend import CommandLineInterface
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

import labkit as lk
from labkit.core import errors
from labkit.i18n.catalogue import LOCALE
from labkit.runs.store import StoreError

ROOT = Path(lk.__path__[0]).parent
PO = LOCALE / "zh_CN" / "LC_MESSAGES" / "labkit.po"
#: What is the same in both languages: names, and frames around what is translated itself.
SAME = {
    "BERT",
    "GPT",
    "HTML",
    "ModernBERT",
    "DLinear",
    "PatchTST",
    "U-Net",
    "EfficientNet-Lite0",
    "MASE",
    "EASE",
    "SASRec",
    "NDCG@10",
    "Python",
    "R²",
    "Transformer",
    "VGG",
    "  - {reason}",
    "{reason} {n:,}",
    "{what}",
}


def read(path: Path) -> Catalog:
    with open(path, "rb") as file:
        return read_po(file, locale="zh_CN")


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    return read(PO)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """What ``pybabel extract`` finds with the mapping of pyproject.toml."""
    made = tmp_path_factory.mktemp("pot") / "labkit.pot"
    command = [
        "pybabel",
        "-q",
        "extract",
        "-F",
        str(ROOT / "pyproject.toml"),
        "-o",
        str(made),
        str(ROOT / "labkit"),
    ]
    CommandLineInterface().run(command)
    return read(made)


def entries(catalogue: Catalog) -> Iterator[tuple[Message, list[str], list[str]]]:
    """Each message with its English and its Chinese texts: one, or those of a plural."""
    for message in catalogue:
        if message.id:
            yield (
                message,
                *([text] if isinstance(text, str) else list(text) for text in (message.id, message.string)),
            )


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name and name.isidentifier()}


def test_the_catalogue_holds_every_message_and_no_other(catalogue: Catalog, extracted: Catalog):
    asked, known = ({(one.context, one.id) for one in found if one.id} for found in (extracted, catalogue))
    assert len(asked) > 1000
    assert (asked - known, known - asked) == (set(), set())


def test_no_entry_is_empty_fuzzy_or_the_english(catalogue: Catalog):
    wrong = [
        one.id for one, _, chinese in entries(catalogue) if one.fuzzy or not all(map(str.strip, chinese))
    ]
    same = {english[0] for _, english, chinese in entries(catalogue) if chinese[0] in english}
    assert (wrong, same) == ([], SAME)


def test_both_languages_have_the_same_placeholders(catalogue: Catalog):
    for message, english, chinese in entries(catalogue):
        if "python-brace-format" in message.flags:
            assert set().union(*map(fields, english)) == set().union(*map(fields, chinese)), english


def test_babel_finds_no_fault(catalogue: Catalog):
    assert [(one.id, str(fault)) for one in catalogue for fault in one.check(catalogue)] == []


def test_plurals_have_as_many_forms_as_the_language(catalogue: Catalog):
    plural = [chinese for one, _, chinese in entries(catalogue) if one.pluralizable]
    assert plural and all(len(forms) == catalogue.num_plurals == 1 for forms in plural)


def test_what_is_read_at_run_time_is_the_catalogue(catalogue: Catalog):
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    assert PO.with_suffix(".mo").read_bytes() == compiled.getvalue(), (
        "pybabel compile -d labkit/i18n/locale -D labkit"
    )


def files() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "labkit").rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text("utf-8"))


def called(node: ast.AST) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""


ERRORS = {kind.__name__ for kind in (errors.LabkitError, *errors.LabkitError.__subclasses__(), StoreError)}


def test_every_error_is_made_with_a_message():
    """No sentence is put together before it is marked: neither an f-string nor a bare string is an error's text.
    (Not in the benchmarks, whose workers run without labkit.)"""
    bare = [
        f"{path}:{node.lineno}"
        for path, tree in files()
        if "benchmarks" not in str(path)
        for node in ast.walk(tree)
        if called(node) in ERRORS and isinstance(node, ast.Call) and node.args
        and isinstance(node.args[0], ast.JoinedStr | ast.Constant | ast.BinOp)
    ]  # fmt: skip
    assert bare == []


def test_only_literals_are_marked_with_parameters():
    """``_(f"…")`` would look up a text that no catalogue has."""
    marks = {"_", "ngettext", "pgettext"}
    wrong = [
        f"{path}:{node.lineno}"
        for path, tree in files()
        for node in ast.walk(tree)
        if called(node) in marks
        and isinstance(node, ast.Call)
        and isinstance(node.args[0], ast.JoinedStr | ast.BinOp)
    ]
    assert wrong == []


def test_no_function_that_marks_a_message_has_a_variable_of_that_name():
    shadowed = []
    for path, tree in files():
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            names = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == "_"]
            own = {id(node) for inner in ast.walk(function) for node in targets(inner)}
            stored = [node for node in names if isinstance(node.ctx, ast.Store) and id(node) not in own]
            if stored and len(stored) + len(own & set(map(id, names))) < len(names):
                shadowed.append(f"{path}:{function.lineno}")
    assert shadowed == []


def targets(node: ast.AST) -> Iterator[ast.Name]:
    """Variables of a comprehension, which are its own."""
    for part in getattr(node, "generators", ()):
        yield from (name for name in ast.walk(part.target) if isinstance(name, ast.Name))
