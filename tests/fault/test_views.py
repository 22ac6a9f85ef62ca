"""Every view shows data as text: one place escapes, forty strings try to get past it, a real browser looks on."""

from __future__ import annotations

import ast
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.core import html as pieces
from labkit.core.text import escape, one_line, visible
from labkit.evaluate.calibration import calibrate
from labkit.evaluate.compare import compare
from labkit.evaluate.report import ClassificationReport
from labkit.evaluate.scores import Scores
from labkit.runs.store import RunInfo, Store
from labkit.viz import run_html
from tests.shown import shown_html

from ..app.hostile import HOSTILE, executable

PACKAGE = Path(lk.__file__).parent


def views(text: str, tmp_path: Path) -> dict[str, str]:
    """The HTML of every view that shows what a user brings, with ``text`` wherever he can put it."""
    rows = lk.load([{"text": f"{text}{n}", "label": f"{text[:90]} {n % 2}"} for n in range(4)], text="text")
    classes, chance = [f"{text[:50]}0", f"{text[:50]}1"], np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    report = ClassificationReport(classes, [1, 1, 0], chance, texts=[text] * 3, split=text)
    store = Store(tmp_path)
    made = store.create(
        f"r{len(store.runs())}", text, experiment="name = 'x'\n", message=text, status="failed"
    )
    info = RunInfo(
        made.id, text, tmp_path, "failed", message=text, error=text, cure=text, traceback=text,
        summary={"quarantined": [text], "checkpoint_error": text},
    )  # fmt: skip
    series = {"train/loss": ([1, 2], [0.5, 0.25]), "validation/loss": ([1], [0.5])}
    problem = run_html.problem_of(info)
    return {
        "rows": _html(rows),
        "report of rows": rows.report.to_pandas().to_html(),
        "report": _html(report),
        "comparison": shown_html(compare(report, report, (text, f"{text} 2"))),
        "calibration": shown_html(calibrate(report, report)),
        "scores": shown_html(Scores(text, {text: 0.5})),
        "runs": shown_html(lk.runs(tmp_path)),
        "result": run_html.result(info, series, run_html.code_section(text, text)),
        "headline": run_html.headline(info),
        "error": run_html.error_box(problem, text),
        "download": run_html.download(text, text, text),
        "table": pieces.table([text], [[text]], caption=text),
        "others": pieces.joined(
            pieces.cards([(text, text)]), pieces.chip(text), pieces.note(text), pieces.heading(text),
            pieces.paragraph(text), pieces.marked(text, "abc"),
        ),
        "explanation": _explanation(text),
    }  # fmt: skip


def _html(shown) -> str:
    return shown_html(shown)


def _explanation(text: str) -> str:
    from labkit.explain.explanation import Explanation

    word = SimpleNamespace(text=text, part=0, start=0, end=len(text))
    shown = SimpleNamespace(words=[word], values=np.array([1.0]))
    return Explanation.marked(shown)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_xss_no_view_runs_or_fetches_anything(number, tmp_path):
    for name, html in views(HOSTILE[number], tmp_path).items():
        assert executable(html) == [], name
        if name not in ("comparison", "runs"):  # titles of runs, which hold no such characters
            assert "\u202e" not in html and "\x00" not in html, name


@pytest.mark.browser
def test_xss_in_a_real_browser(chromium, tmp_path):
    """All views with all forty strings in one page: no dialog, no script, no request."""
    pytest.importorskip("playwright.sync_api")
    html = "".join("".join(views(text, tmp_path).values()) for text in HOSTILE)
    with ThreadPoolExecutor(
        1
    ) as thread:  # Playwright runs once in a thread, and other tests' JupyterLab has it here
        asked, pwned = thread.submit(_look, chromium, html).result()
    assert pwned == [None, 0]
    assert [address for address in asked if not address.startswith("data:")] in ([], ["about:blank/x"]), asked


def _look(chromium: str, html: str) -> tuple[list[str], list[Any]]:
    """What a page with this content asks for and says in dialogs; whether a script ran, and how many there are."""
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
        page.set_content(f"<!doctype html><meta charset=utf-8><body>{html}</body>")
        page.hover("body")
        page.wait_for_timeout(500)
        pwned = page.evaluate("[window.pwned, document.querySelectorAll('script, iframe').length]")
        page.set_content(f"<body>{HOSTILE[1]}</body>")  # the same string unescaped: the test would see it
        page.wait_for_function("window.pwned === 1", timeout=60_000)
        browser.close()
    return asked, pwned


# --- rules that hold for the whole package ----------------------------------------------------------------------------


def sources(kind: str):
    return [
        (path.relative_to(PACKAGE).as_posix(), path.read_text("utf-8")) for path in PACKAGE.rglob(f"*.{kind}")
    ]


def test_one_place_escapes():
    def escapers(source: str) -> bool:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import) and any(alias.name == "html" for alias in node.names):
                return True
            if isinstance(node, ast.ImportFrom) and node.module == "html":
                return any(alias.name == "escape" for alias in node.names)
        return False

    assert [file for file, source in sources("py") if escapers(source)] == ["core/text.py"]
    assert escapers("def f():\n    from html import escape") and not escapers("from html import unescape")


FORBIDDEN = {
    "pandas without escaping": r"escape\s*=\s*False|\bStyler\b|\.style\.(?:format|apply|set_|background|to_html)",
    "names that become HTML": r"description_allow_html|div_id\s*=",
    "pickle": r"\bimport pickle\b|pickle\.load|allow_pickle\s*=\s*True|torch\.load|joblib\.load"
    r"|yaml\.(?:unsafe_)?load\(",
    "Jupyter's locks": r"disable_check_xsrf|allow_origin|allow_remote_access|--ip=0\.0|token\s*=\s*''|ServerApp\.token",
    "code of others": r"trust_remote_code\s*=\s*True|(?<![.\w])eval\(|(?<![.\w])exec\(",
    "unchecked certificates": r"verify\s*=\s*False|_create_unverified_context|CERT_NONE",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_opens_a_door_is_nowhere(what):
    found = [
        f"{file}: {match[0]}"
        for file, source in sources("py")
        for match in re.finditer(FORBIDDEN[what], source)
    ]
    assert found == []


def test_scripts_put_no_text_into_the_page_as_html():
    for file, source in sources("js"):
        for line in re.findall(r".*(?:innerHTML|insertAdjacentHTML|document\.write).*", source):
            assert re.search(r"innerHTML\s*=\s*(?:\"\"|''|``)", line), f"{file}: {line.strip()}"


def test_what_is_shown_by_name():
    assert visible("a\u202eb\x00") == "a\\u202eb␀" and visible("x" * 9, 4) == "xxxx…"
    assert one_line("a\nb\tc", 9) == "a b c" and one_line("x" * 9, 4) == "xxx…"
    assert escape("a\n\u202e\x00") == "a\n\\u202e␀"
    assert escape("<a href='x'>&\"") == "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"
