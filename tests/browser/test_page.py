"""The offline page in Chromium: its tokenizer against `tokenizers`, its answers against labkit."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page
from tokenizers import Tokenizer

import labkit as lk
from labkit.core.errors import ConfigError
from labkit.inference.page import runtime, write

from .jupyter import Lab

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "inference" / "exports" / "kept"
#: Exports whose tokenizers are WordPiece and byte-level BPE, trained here and in the forms of BERT and RoBERTa.
TOKENIZERS = (
    "bert-classify-cls-loaded-pairs", "bert-multilabel-max-wordpiece-pairs", "distilbert-multilabel-first-bpe",
    "gpt2-classify-loaded-pairs", "roberta-qa-loaded",
)  # fmt: skip
TEXTS = (
    "", " ", "a good film", "Not a bad film, and the PLOT is fine 🙂", "电影好看！我喜欢这部电影。",
    "混合 mixed 中文 text",
    "café naïve ÅNGSTRÖM İstanbul ΣΑΣ ß", "e\u0301 ﬁ ½ ①",
    "don't it's we'll I'M", "a\tb\nc\r\nd\u00a0e\u3000f\u2003g",
    "123,456.78 $5 50% a_b-c/d", "👩\u200d👧 🇨🇳 👍🏽", "\u0000\ufffd\u200b\ufeffx",
    "[CLS] a [SEP] b [MASK] [UNK] <mask> <s>",
    "x" * 150, "  two  spaces  ", "日本語のテキスト 한국어 текст עברית العربية हिन्दी",
    "“quotes” — dashes… ‘single’", "a\u0378b",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[Page]:
    context = lab.browser.new_context(offline=True)
    yield context.new_page()
    context.close()


def random_texts(count: int) -> list[str]:
    """Texts of letters, marks, Chinese, spaces and emoji, mixed."""
    random = np.random.default_rng(0)
    pools = [
        "abcdefghij XYZ",
        "  \t\n",
        "电影好看的中文字符",
        "éüñçøß",
        ".,!?'\"-()[]",
        "0123456789",
        "🙂👍🏽",
        "日本語한국",
    ]
    made = []
    for _number in range(count):
        picked = [pools[place] for place in random.integers(0, len(pools), random.integers(1, 30))]
        made.append("".join(pool[random.integers(0, len(pool))] for pool in picked))
    return made


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_tokenizer_of_the_page_is_that_of_tokenizers(name: str, page: Page) -> None:
    text = (KEPT / name / "tokenizer.json").read_text(encoding="utf-8")
    write._check_tokenizer(json.loads(text))
    theirs = Tokenizer.from_str(text)
    theirs.no_padding()
    theirs.encode_special_tokens = True  # as labkit reads texts
    theirs.enable_truncation(24)
    page.goto("about:blank")
    page.add_script_tag(content=(write.ASSETS / "tokenizer.js").read_text(encoding="utf-8"))
    asked = [*TEXTS, *random_texts(300)]
    pairs = list(zip(asked, asked[::-1], strict=True))
    code = """([file, texts, pairs]) => {
        const read = makeTokenizer(JSON.parse(file), 24);
        return [texts.map((each) => read(each)), pairs.map((each) => read(...each))];
    }"""
    single, double = page.evaluate(code, [text, asked, pairs])
    for given, mine in [*zip(asked, single, strict=True), *zip(pairs, double, strict=True)]:
        wanted = theirs.encode(*([given] if isinstance(given, str) else given))
        assert (mine["ids"], mine["types"]) == (wanted.ids, wanted.type_ids), ascii(given)


def test_what_the_page_lacks_is_refused_by_name() -> None:
    file = json.loads((KEPT / TOKENIZERS[0] / "tokenizer.json").read_text(encoding="utf-8"))
    with pytest.raises(ConfigError, match="does not support model Unigram"):
        write._check_tokenizer({**file, "model": {"type": "Unigram"}})


def test_other_files_of_the_runtime_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"has no {runtime.SCRIPT}"):
        runtime.runtime_files(tmp_path)
    for name in runtime.FILES:
        (tmp_path / name).write_bytes(b"another")
    with pytest.raises(ConfigError, match=r"its SHA-256 is .* expected"):
        runtime.runtime_files(tmp_path)
    (tmp_path / "x.tgz").write_bytes(b"none")
    with pytest.raises(ConfigError, match="is not the archive"):
        runtime.runtime_files(tmp_path / "x.tgz")


# --- whole pages: npm fetches onnxruntime-web (LABKIT_ORT_WEB names a folder or archive instead) ---------------

RANDOM = np.random.default_rng(1)


def fitted(rows: Any, model: Any, folder: Path, **settings: Any) -> Any:
    how = {"epochs": 2, "batch_size": 16, "accept_leakage": True, "background": False, **settings}
    return lk.fit(rows, model, folder=folder, **how)


def opened(run: Any, page: Page, folder: Path) -> float:
    """The page of a run, from its file; returns its greatest difference in the check that it makes itself."""
    out = run.export(folder / "model", page=True, web=os.environ.get("LABKIT_ORT_WEB", ""))
    place = out / "page" / "index.html"
    assert place.stat().st_size <= 40_000_000
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(place.as_uri())
    worst = page.evaluate("labkit.ready")
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [place.as_uri()]
    return worst


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_50_texts(kind: str, page: Page, tmp_path: Path) -> None:
    words = [["good", "fine", "好看", "喜欢"], ["bad", "dull", "难看", "无聊"]]
    texts = [" ".join(RANDOM.choice(words[i % 2], RANDOM.integers(1, 9))) + f" №{i}!" for i in range(200)]
    rows = [{"text": text, "label": "+-"[i % 2]} for i, text in enumerate(texts)]
    sizes = {"width": 32, "heads": 2, "mlp_width": 64, "depth": 2, "max_length": 32}
    run = fitted(lk.load(rows), lk.models["bert"](**sizes), tmp_path / "lab", tokenizer=kind, max_length=32)
    worst = opened(run, page, tmp_path)
    asked = [*TEXTS[2:15], *texts[:37]]
    found = page.evaluate("async (texts) => { const all = []; for (const each of texts) "
                          "all.push(await labkit.answerText(each)); return all; }", asked)  # fmt: skip
    gap = np.abs(np.array(found) - run.predictor.probabilities(asked)).max()
    print(f"{kind}: 50 texts, greatest difference {gap:.1e}; own check {worst:.1e}")
    assert len(asked) == 50 and gap <= 1e-4
    page.fill("#first", texts[0])
    page.click("#go")
    page.wait_for_selector(".chosen")
    assert page.inner_text(".chosen") == run.predict(texts[0]).label


@pytest.mark.peers
def test_20_pictures(page: Page, tmp_path: Path) -> None:
    for i in range(120):
        pixels = RANDOM.integers(0, 200, (8, 8, 3)).astype(np.uint8)
        pixels[..., i % 2] += 40
        (tmp_path / "pets" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pets" / "ab"[i % 2] / f"{i}.png")
    model = lk.models["cnn"](preset="small", widths=(8, 8))
    run = fitted(lk.load(tmp_path / "pets", size=8), model, tmp_path / "lab")
    opened(run, page, tmp_path)
    files = []
    for i, shape in enumerate(
        [(8, 8, 3)] * 8 + [(20, 31, 3), (64, 40, 3), (5, 9, 3), (7, 6, 3), (16, 16), (33, 12)] * 2
    ):
        place = tmp_path / f"new{i}.png"
        Image.fromarray(RANDOM.integers(0, 256, shape).astype(np.uint8)).save(place)
        files.append(place)
    code = """async (all) => { const found = []; for (const each of all) {
        const bytes = Uint8Array.from(atob(each), (c) => c.charCodeAt(0));
        found.push(await labkit.answerImage(new Blob([bytes], {type: "image/png"}))); } return found; }"""
    found = page.evaluate(code, [base64.b64encode(place.read_bytes()).decode() for place in files])
    gap = np.abs(np.array(found) - run.predictor.probabilities(files)).max()
    print(f"{len(files)} pictures, greatest difference {gap:.1e}")
    assert len(files) == 20 and gap <= 1e-4


@pytest.mark.peers
def test_20_rows_of_a_table(page: Page, tmp_path: Path) -> None:
    rows = [
        {"age": None if i % 11 == 0 else 20.0 + i % 50, "pay": float(RANDOM.normal(1e4, 2e3)), "city": "xyz"[i % 3],
         "member": bool(i % 2), "price": 1e5 + 10 * (i % 7)}
        for i in range(160)
    ]  # fmt: skip
    data = lk.load(rows, features=("age", "pay", "city", "member"), number="price")
    run = fitted(data, lk.models["mlp"](widths=(16,)), tmp_path / "lab")
    opened(run, page, tmp_path)
    asked = [{key: value for key, value in row.items() if key != "price"} for row in rows[:20]]
    found = page.evaluate("async (rows) => { const all = []; for (const each of rows) "
                          "all.push(await labkit.answerTable(each)); return all; }", asked)  # fmt: skip
    wanted = run.predictor.probabilities(asked)
    gap = np.abs(np.array(found) - wanted).max()
    print(f"20 rows, greatest difference {gap:.1e} of {wanted.mean():.0f}")
    assert gap <= 1e-3
