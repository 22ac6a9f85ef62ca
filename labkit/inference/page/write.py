"""The page of an exported folder: one HTML file with model, runtime and form, which answers without a network."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labkit.core.errors import ConfigError
from labkit.core.text import escape
from labkit.data.cells import Column
from labkit.i18n import Message, _, translate
from labkit.inference.page.runtime import PROGRAM, SCRIPT, runtime_files
from labkit.inference.to_onnx import files
from labkit.inference.to_onnx.programs import ImageAnswers, Program, TableAnswers, TextAnswers

ASSETS = Path(__file__).parent
#: Bytes of a page at most; the model is that of int8 where the whole one would be too large.
LARGEST = 40_000_000
#: Kinds of table columns that the form has a control for.
CONTROLS = ("number", "category", "boolean")
#: Parts of tokenizers that page/tokenizer.js has.
TOKENIZER_PARTS = {
    "normalizer": ("BertNormalizer", "Sequence", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Prepend",
                   "Replace"),
    "pre_tokenizer": ("BertPreTokenizer", "ByteLevel", "WhitespaceSplit", "Sequence"),
    "post_processor": ("TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel", "Sequence"),
    "model": ("WordPiece", "BPE"),
}  # fmt: skip
#: Settings of BPE that must be off.
UNSUPPORTED_BPE = (
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
    "fuse_unk",
)
#: Texts whose answers the page compares with those that were computed here.
CHECKED = (
    "A short text.", "It's 3.5 times as good — isn't it?", "café naïve ÅNGSTRÖM", "这部电影很好看，我喜欢。",
    "tabs\tand\nlines", "emoji 🙂 and 👩‍👧", "x" * 120, "MIXED Case mixed case " * 40,
)  # fmt: skip
#: Differences that the page accepts: of the whole model, of that with int8, which rounds activations.
TOLERANCES = {"float32": 1e-3, "int8": 0.05}
WORDS: dict[str, Message] = {
    "predict": _("Predict"),
    "text": _("Text"),
    "first": _("First text"),
    "second": _("Second text"),
    "picture": _("Picture (choose a file, or drop one on this page)"),
    "loading": _("The model is loading …"),
    "empty": _("Enter a text."),
    "no_picture": _("Choose a picture."),
    "no_number": _("not a number"),
    "no_label": _("no label"),
    "differs": _("This browser computes other answers than labkit did; the page is not used."),
    "private": _(
        "The model runs in this page. What you enter never leaves this device, and no network is needed."
    ),
    "made": _("Made with labkit and ONNX Runtime Web. The answers of a model can be wrong."),
}


def write_page(folder: Path, about: Mapping[str, Any], program: Program, web: str | Path = "") -> Path:
    """Write ``page/index.html`` to an exported folder that holds the files of ONNX.

    Args:
        folder: the exported folder.
        about: what :func:`labkit.inference.to_onnx.files.write_onnx` has returned.
        program: of the model.
        web: see :func:`~labkit.inference.page.runtime.runtime_files`.

    Raises:
        ConfigError: the page has no form for such a model, or would be larger than :data:`LARGEST`.
    """
    about = {**about, **_form(program, folder)}
    runtime = runtime_files(web)
    tokenizer = (folder / "tokenizer.json").read_bytes() if isinstance(program, TextAnswers) else b"{}"
    sizes = {}
    for kind, name in (("float32", files.MODEL), ("int8", files.INT8)):
        if (folder / name).exists():
            content = (folder / name).read_bytes()
            page = _page(_checks(about, program, folder, name, kind), content, tokenizer, runtime)
            sizes[kind] = len(page)
            if len(page) <= LARGEST:
                (folder / "page").mkdir()
                place = folder / "page" / "index.html"
                place.write_bytes(page)
                return place
    raise ConfigError(
        _("the page would have {size} MB, more than {most}: train a smaller model ({sizes})."),
        size=round(min(sizes.values()) / 1e6), most=LARGEST // 1_000_000,
        sizes=", ".join(f"{kind} {size / 1e6:.0f} MB" for kind, size in sizes.items()),
    )  # fmt: skip


def _form(program: Program, folder: Path) -> dict[str, Any]:
    """What the form needs. Raises :class:`ConfigError` for a model that it cannot serve, by name."""
    if isinstance(program, TextAnswers):
        if cleaning := program.facts()["text"]["cleaning"]:
            raise _refused(_("texts are cleaned before ({steps})", steps=", ".join(cleaning)))
        _check_tokenizer(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
        return {}
    if isinstance(program, ImageAnswers):
        if program.shape[-1] not in (1, 3):
            raise _refused(_("pictures of {channels} channels", channels=program.shape[-1]))
        return {}
    if isinstance(program, TableAnswers):
        standard = program.pipeline.processor.standard
        if standard is None or not standard.names:
            raise _refused(_("a table without column names"))
        columns = standard.columns or [Column(name, features=(name,)) for name in standard.names]
        if odd := [column.name for column in columns if column.kind not in CONTROLS]:
            raise _refused(_("the dates or durations in {columns}", columns=", ".join(odd)))
        return {
            "table": {"features": list(standard.names), "columns": [column.to_dict() for column in columns]}
        }
    raise _refused(type(program).__doc__.splitlines()[0] if type(program).__doc__ else type(program).__name__)


def _refused(what: object) -> ConfigError:
    return ConfigError(_("the offline page does not support {what}."), what=what)


def _check_tokenizer(file: Mapping[str, Any]) -> None:
    """Raise :class:`ConfigError` where page/tokenizer.js lacks a part of a tokenizer."""
    for name, known in TOKENIZER_PARTS.items():
        todo = [file.get(name)]
        while todo:
            part = todo.pop()
            if part is None:
                continue
            if part["type"] not in known:
                raise _refused(f"{name} {part['type']}")
            for several in ("normalizers", "pretokenizers", "processors"):
                todo += part.get(several, [])
            if part["type"] == "Replace" and "String" not in part["pattern"]:
                raise _refused("normalizer Replace")
    odd = [name for name in UNSUPPORTED_BPE if file["model"].get(name)]
    if file["model"]["type"] == "BPE" and odd:
        raise _refused(f"BPE {', '.join(odd)}")
    if odd := [each["content"] for each in file.get("added_tokens") or () if each.get("single_word")]:
        raise _refused(f"single_word tokens {', '.join(odd[:5])}")


def _checks(about: Mapping[str, Any], program: Program, folder: Path, name: str, kind: str) -> dict[str, Any]:
    """The description with fixed inputs and the answers of ONNX Runtime to them, which the page compares."""
    answer = files.answers_of(files.session_of(str(folder / name)))
    checks, random = [], np.random.default_rng(0)
    if isinstance(program, TextAnswers):
        tokenizer = program.rust(folder)
        for number, text in enumerate(CHECKED):
            given = [text, CHECKED[number - 1]] if about["pairs"] else [text]
            feeds = program.encoded([tuple(given) if about["pairs"] else text], tokenizer)
            checks.append({"input": given, "ids": feeds["input_ids"][0].tolist(), "feeds": feeds})
    else:
        (given,) = program.inputs
        for _number in range(3):
            array = random.normal(size=(1, *program.shape))
            if isinstance(program, ImageAnswers):
                array = random.integers(0, int(min(program.pixels.peak, 255)) + 1, (1, *program.shape))
                pixels = np.rint(array * 255 / program.pixels.peak)
                array = array if program.pixels.whole else pixels * program.pixels.peak / 255
                checks.append(
                    {"input": pixels.ravel().tolist(), "feeds": {given.name: array.astype(given.dtype)}}
                )
            else:
                checks.append({"input": array.ravel().tolist(), "feeds": {given.name: array}})
    for check in checks:
        check["answer"] = answer(check.pop("feeds"))[about["outputs"][0]][0].tolist()
    return {**about, "page": {"check": checks, "tolerance": TOLERANCES[kind], "weights": kind}}


def _page(about: Mapping[str, Any], model: bytes, tokenizer: bytes, runtime: Mapping[str, bytes]) -> bytes:
    words = {
        language: {key: translate(word, language) for key, word in WORDS.items()} for language in ("en", "zh")
    }
    parts = {
        "title": escape(about.get("name") or "labkit").encode(),
        "about": _json(about), "words": _json(words),
        "tokenizer": _packed(tokenizer), "wasm": _packed(runtime[PROGRAM]), "model": _packed(model),
        "runtime": _script(runtime[SCRIPT].decode()),
        "tokenizer_code": _own("tokenizer.js"), "page_code": _own("page.js"),
    }  # fmt: skip
    page = re.split(rb"\{\{(\w+)\}\}", (ASSETS / "page.html").read_bytes())
    return b"".join(parts[part.decode()] if number % 2 else part for number, part in enumerate(page))


def _packed(content: bytes) -> bytes:
    return base64.b64encode(gzip.compress(content, 9, mtime=0))


def _json(value: object) -> bytes:
    """JSON inside a script element: no tag can end it."""
    return json.dumps(value, ensure_ascii=True, default=str).replace("<", "\\u003c").encode()


def _own(name: str) -> bytes:
    return (ASSETS / name).read_text(encoding="utf-8").replace('"use strict";\n', "").encode()


def _script(code: str) -> bytes:
    """The module of onnxruntime-web with its exports as the global ``ort``."""
    code = code[: code.rindex("//# sourceMappingURL")] if "//# sourceMappingURL" in code else code
    start = code.rindex("export{")
    pairs = [pair.split(" as ") for pair in code[start + len("export{") : code.rindex("}")].split(",")]
    named = ",".join(f"{name}:{local}" for local, name in pairs if name != "default")
    return f"{code[:start]}globalThis.ort={{{named}}};".replace("</script", "<\\/script").encode()
