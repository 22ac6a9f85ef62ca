"""The documentation: its code runs, its commands and links exist, its pages build, and the reference is up to date."""

from __future__ import annotations

import ast
import itertools
import json
import posixpath
import re
import shutil
import string
import subprocess
import sys
import tomllib
import types
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

import labkit as lk
from labkit.cli import docs, docs_pages
from labkit.cli.main import app

ROOT = Path(__file__).parent.parent
WRITTEN = [
    name for section in ("Start", "How-to guides", "Background") for name in docs_pages.NAVIGATION[section]
]
EVERY = [name for section in docs_pages.NAVIGATION.values() for name in section]
_TINY = 'preset="tiny", width=16, depth=1, heads=2, mlp_width=32, max_length=64'
_ONE_SHAPE = "learning_rate=3e-3, vocabulary=300, max_length=32, batch_size=16, buckets=1"  # one compilation
#: What readers write → what the test runs, so that it needs no download and little time.
SMALLER = {
    "learning_rate=3e-3, vocabulary=300": _ONE_SHAPE,
    'lk.fit(rows, lk.models["bert"](preset="minilm-l6"), epochs=2)': 'lk.open_run("finished")',
    'lk.open_run("reviews")': 'lk.open_run("finished")',
    'preset="minilm-l6"': _TINY,
    'lk.models["bert"](preset="tiny")': f'lk.models["bert"]({_TINY})',
    'lk.models["transformer"](preset="tiny")': 'lk.models["transformer"](preset="tiny", width=16, heads=2)',
    'lk.EmbeddingPipeline("minilm-l6")': 'lk.EmbeddingPipeline("encoder")',
    'encoder="minilm-l6"': 'encoder="encoder"',
    'lk.TextGenerationPipeline("smollm2-135m")': 'lk.TextGenerationPipeline("novelist")',
    'preset="nano"': 'preset="nano", depth=1, width=16, heads=2',
    'epochs=4, learning_rate=3e-3, name="first"': f'epochs=1, name="first", {_ONE_SHAPE}',
    '"max_length": 32, "batch_size": 16': '"max_length": 32, "batch_size": 16, "buckets": 1',
    "scenario=scenario, epochs=1)": f"scenario=scenario, epochs=1, {_ONE_SHAPE})",
    "epochs=200": "epochs=40",
    "steps=30": "steps=10, max_length=32, buckets=1, vocabulary=300",
    "points=64": "points=16",
    "(0, 1, 2)": "(0,)",
}


def blocks(name: str, kind: str) -> list[str]:
    """The code blocks of a page with this info string."""
    text = (docs_pages.SOURCE / f"{name}.md").read_text("utf-8")
    fences = (token for token in MarkdownIt().parse(text) if token.type == "fence")
    return [token.content for token in fences if token.info == kind]


@pytest.fixture
def work(tmp_path: Path, finished: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a reader, with the files that the pages name and one run of a small BERT."""
    from PIL import Image
    from scipy.io import wavfile

    shutil.copytree(finished.store.folder, tmp_path / ".labkit")
    (tmp_path / "reviews.csv").write_bytes((ROOT / "tests" / "reviews.csv").read_bytes())
    random = np.random.default_rng(0)
    table = [(n % 5 + 1, 20 * (n % 5) + 30 + n, ("Rome", "Paris")[n % 2], 1000 * n) for n in range(40)]
    lines = ["rooms,area,city,price", *(",".join(map(str, row)) for row in table)]
    (tmp_path / "houses.csv").write_text("\n".join(lines), encoding="utf-8")
    words = re.findall(
        r"\w+", "It is a truth universally acknowledged that she was in want of good fortune and single"
    )
    (tmp_path / "book.txt").write_text("\n".join(" ".join(random.choice(words, 12)) for _ in range(200)))
    for n in range(8):
        for folder in (f"pets/{('cat', 'dog')[n % 2]}", f"birds/{('wren', 'robin')[n % 2]}"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"pets/{('cat', 'dog')[n % 2]}/{n}.png")
        wave = random.normal(scale=3000, size=4000).astype(np.int16)
        wavfile.write(tmp_path / f"birds/{('wren', 'robin')[n % 2]}/{n}.wav", 8000, wave)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABKIT_FOLDER", raising=False)
    return tmp_path


@pytest.fixture
def registries() -> Any:
    """What a page registers is taken away again."""
    kinds = lk.models.models, lk.tasks.tasks
    before = [dict(registry.entries) for registry in kinds]
    yield
    for registry, entries in zip(kinds, before, strict=True):
        registry.entries = entries


#: Pages whose code takes half a minute and more; `-m soak` runs them.
LONG = {
    "how-to/fine-tune-bert",
    "how-to/language-models",
    "how-to/private-training",
    "how-to/questions-and-translation",
    "how-to/smaller-models",
    "how-to/tables-and-health",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.soak] if name in LONG else [])
        for name in WRITTEN
        if blocks(name, "python")
    ],
)
def test_the_code_of_a_page_runs(name: str, work: Path, registries: None, finished: Any) -> None:
    code = blocks(name, "python")
    if any("lk.EmbeddingPipeline(" in block or "encoder=" in block for block in code):
        finished.export(work / "encoder")
    module = types.ModuleType(f"page_{name.replace('/', '_').replace('-', '_')}")
    sys.modules[module.__name__] = module  # where dataclasses look up the names of annotations
    try:
        for number, block in enumerate(code, 1):
            for written, smaller in SMALLER.items():
                block = block.replace(written, smaller)
            exec(compile(block, f"{name}.md, block {number}", "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize("name", [name for name in WRITTEN if blocks(name, "python no-run")])
def test_code_that_is_not_run_names_what_exists(name: str) -> None:
    for block in blocks(name, "python no-run"):
        tree = ast.parse(block)
        used = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "lk"
        ]
        assert all(hasattr(lk, node.attr) for node in used) and (used or "labkit" not in block)


@pytest.mark.parametrize("name", WRITTEN)
def test_every_command_of_a_page_exists(name: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    text = (docs_pages.SOURCE / f"{name}.md").read_text("utf-8")
    assert set(re.findall(r"labkit\[(\w+)\]|'\.\[(\w+)\]'", text)) <= {(e, "") for e in extras} | {
        ("", e) for e in extras
    }
    commands = [
        line for block in blocks(name, "bash") for line in block.splitlines() if line.startswith("labkit ")
    ]
    inline = re.findall(r"`(labkit [a-z][^`]*)`", text)
    for command in commands + inline:
        words = re.findall(r'"[^"]*"|\S+', command)[1:]
        done = CliRunner().invoke(app, [*words, "--help"])
        assert done.exit_code == 0, f"{command}: {done.output}"


def test_a_command_that_does_not_exist_is_found() -> None:
    for command in ("labkit trian x.toml", "labkit train --nodes 2 x.toml", "labkit runs halt x"):
        assert CliRunner().invoke(app, [*command.split()[1:], "--help"]).exit_code == 2


# --- pages ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    docs_pages.write_site(folder)
    return folder


def test_every_page_is_in_the_navigation_and_every_block_has_a_known_kind() -> None:
    files = {
        path.relative_to(docs_pages.SOURCE).with_suffix("").as_posix()
        for path in docs_pages.SOURCE.rglob("*.md")
    }
    assert files == set(EVERY) and len(EVERY) == len(set(EVERY))
    kinds = {
        token.info
        for name in EVERY
        for token in MarkdownIt().parse((docs_pages.SOURCE / f"{name}.md").read_text("utf-8"))
        if token.type == "fence"
    }
    assert kinds <= {"python", "python no-run", "bash", "text", "toml"}


def test_every_link_and_anchor_of_the_pages_resolves() -> None:
    built = docs_pages.pages()
    anchors = {name: {anchor for _, anchor, _ in page.headings} for name, page in built.items()}
    broken = []
    for name, page in built.items():
        for link in page.links:
            path, _, anchor = link.partition("#")
            target = (
                posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else f"{name}.md"
            )
            stem = target.removesuffix(".md")
            if stem not in anchors or (anchor and anchor not in anchors[stem]):
                broken.append(f"{name}: {link}")
    assert broken == []
    assert sum(len(page.links) for page in built.values()) > 30


class Addresses(HTMLParser):
    """What a page loads or links to, its anchors, and its headings."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.labels = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.targets += [named[key] or "" for key in ("href", "src", "action") if key in named]
        self.ids += [named["id"] or ""] if "id" in named else []
        self.headings += [tag] if re.fullmatch(r"h[1-6]", tag) else []
        self.labels += tag == "label"


@pytest.mark.parametrize("name", EVERY)
def test_a_built_page_is_whole_and_loads_nothing_from_outside(name: str, site: Path) -> None:
    text = (site / f"{name}.html").read_text("utf-8")
    seen = Addresses()
    seen.feed(text)
    assert not re.search(
        r"(https?:)?//(?!127\.0\.0\.1)[\w-]+\.", re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
    )
    for target in seen.targets:
        path, _, anchor = target.partition("#")
        if path in ("", "data:,"):
            assert not anchor or anchor in seen.ids
            continue
        assert ":" not in path and (site / name).parent.joinpath(path).resolve().is_file(), target
    assert len(seen.ids) == len(set(seen.ids)) and seen.headings.count("h1") == 1 and seen.labels == 1
    assert text.count('aria-current="page"') == 1 and "$" not in re.sub(
        r"<(pre|code).*?</\1>", "", text, flags=re.DOTALL
    )


@pytest.mark.parametrize("asset", ["style.css", "code.css", "search.js"])
def test_no_asset_names_an_address(asset: str, site: Path) -> None:
    assert not re.search(r"https?://|@import|url\(", (site / asset).read_text("utf-8"))


def test_what_looks_like_html_is_shown_as_text() -> None:
    hostile = "<script>alert(1)</script>"
    fences = f"```python\nx = '{hostile}'\n```\n\n```{hostile}\n{hostile}\n```\n"
    page = docs_pages.render(
        "x", f"# A {hostile}\n\n{hostile} `{hostile}` [go](javascript:alert(1))\n\n{fences}"
    )
    assert (
        "<script" not in page.body and 'href="javascript' not in page.body and "&lt;script&gt;" in page.body
    )
    template = string.Template("$title $navigation")
    whole = docs_pages.whole(docs_pages.Page("index", title=hostile), docs_pages.pages(), template)
    assert "<script" not in whole


def test_the_search_index_holds_every_heading(site: Path) -> None:
    text = (site / docs_pages.INDEX).read_text("utf-8")
    records = json.loads(text.removeprefix("window.labkitIndex = ").removesuffix(";\n"))
    found = {(record["page"], record["heading"]) for record in records}
    for name in EVERY:
        tokens = MarkdownIt().parse((docs_pages.SOURCE / f"{name}.md").read_text("utf-8"))
        for token, words in itertools.pairwise(tokens):
            if token.type == "heading_open":
                plain = re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", words.content)
                assert (f"{name}.html", plain) in found, plain
    assert any("bootstrap" in record["text"] for record in records)
    assert len({(record["page"], record["anchor"]) for record in records}) == len(records)


def test_pages_are_written_into_an_empty_folder_or_over_older_ones(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    for _ in range(2):
        done = CliRunner().invoke(app, ["docs", "--out", str(folder)])
        assert done.exit_code == 0 and "index.html" in done.output
    (tmp_path / "mine.txt").write_text("mine")
    done = CliRunner().invoke(app, ["docs", "--out", str(tmp_path)])
    assert done.exit_code == 2 and "is not empty" in done.output and len(list(tmp_path.iterdir())) == 2


def test_pages_are_served_on_this_machine_with_a_policy_against_outside_content(site: Path) -> None:
    with docs.served(site) as address, urlopen(address) as answer:
        assert address.startswith("http://127.0.0.1:") and b"<title>labkit" in answer.read()
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    with docs.served(site) as address:
        port = int(address.split(":")[2].split("/")[0])
        with (
            pytest.raises(lk.LabkitError, match=f"cannot listen on 127.0.0.1:{port}"),
            docs.served(site, port),
        ):
            pass


def test_the_reference_is_that_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.reference", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_in_the_reference() -> None:
    text = "".join(path.read_text("utf-8") for path in (docs_pages.SOURCE / "reference").glob("*.md"))
    missing = [
        name
        for name in lk.__all__
        if name not in ("models", "tasks", "__version__") and f"## lk.{name}\n" not in text
    ]
    assert missing == []
