"""The notebooks as source: fit to be kept, honest, and the same in both languages. That they run is nbval's part."""

from __future__ import annotations

import datetime
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from labkit.course.exercises import EXERCISES
from labkit.course.real_size import RESULTS, measured

from . import course_table
from .lessons import LESSONS, METADATA, cells, execute, exercises, problems, ran, read, source, tags

BESIDE = {path.name for path in LESSONS}
CHINESE = [path for path in LESSONS if path.name.endswith(".zh.ipynb")]
ENGLISH = [path for path in LESSONS if path not in CHINESE]


@pytest.mark.parametrize("path", [*ENGLISH, *CHINESE], ids=lambda path: path.name)
def test_a_notebook_is_fit_to_be_kept(path: Path) -> None:
    assert problems(path.read_text("utf-8"), path.name, BESIDE) == []


def test_the_exercises_asked_are_the_exercises_there_are() -> None:
    asked = [name for path in ENGLISH for cell in read(path)["cells"] for name in exercises(cell)]
    assert sorted(asked) == sorted(EXERCISES) and len(asked) == len(set(asked))


# --- claims -----------------------------------------------------------------------------------------------------------

#: Lesson → the cell of a claim, what its code or that of a cell before it says, and what makes the claim wrong.
WRONG = {
    "00_tour": ("00-05", "sample(lk.scale(700,", "sample(lk.scale(690,"),
    "01_preprocessing": ("01-06", '{"review": "", "stars": "bad"}', '{"review": "x", "stars": "bad"}'),
    "06_attention_and_bert": ("06-07", "np.sqrt((x**2)", "((x**2)"),
    "07_pretraining_bert": ("07-10", "< share) & ~special", "< share)"),
    "08_finetuning_bert": ("08-03", 'set(rows["train"]["text"]) &', 'set(rows["test"]["text"]) &'),
    "09_question_answering": ("09-03", 'row["answer_start"] :]', 'row["answer_start"] + 1 :]'),
    "10_gpt": ("10-04", "changed[0, 8] = 49", "changed[0, 3] = 49"),
    "02_mathematics": ("02-18", "* h * (1 - h)  # step 4", "* h  # step 4"),
    "03_architectures": ("03-08", "return (inputs + 1) * neurons", "return inputs * neurons"),
    "04_training": ("04-08", "2 * 96 * 256 * 64", "96 * 256 * 64"),
    "05_evaluation": ("05-04", "2 * TP / (2 * TP + FP + FN)", "TP / (TP + FP + FN)"),
    "12_from_lab_to_use": ("12-03", '"html", "width", "whitespace"', '"html", "whitespace"'),
    "13_when_training_goes_wrong": ("13-04", "abs(first - np.log(10))", "abs(first - np.log(100))"),
    "11_the_right_size": ("11-08", "widths=(512, 512)", "widths=(4,)"),
    "14_choose_the_problem_first": ("14-06", "READ * (acted & ~angry)", "READ * acted"),
    "15_search": ("15-06", "len(counts) - present + 0.5", "len(counts) + 0.5"),
    "16_privacy_and_fairness": ("16-07", '("pii",)', '("whitespace",)'),
    "18_pictures_two": ("18-03", "original[:, :, :, ::-1]", "original[:, :, ::-1]"),
    "17_tables_and_health": ("17-08", "(pairs == 0).mean() / 2", "1"),
}


@pytest.mark.parametrize("name", [path.stem for path in ENGLISH])
def test_a_wrong_claim_fails(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cell, old, new = WRONG[name]
    notebook = read(next(path for path in ENGLISH if path.stem == name))
    with pytest.raises(AssertionError) as red:
        execute(notebook, cell, old, new)
    assert str(red.traceback[-1].path).endswith(f"<cell {cell}>")


def test_a_change_that_is_not_in_one_place_is_refused() -> None:
    notebook = {"cells": [{"cell_type": "code", "id": "x", "source": "a = 1\na = 1\nassert a == 1"}]}
    execute(notebook, "x")
    with pytest.raises(AssertionError):
        execute(notebook, "x", "assert a == 1", "assert a == 2")
    for old in ("a = 1", "b"):
        with pytest.raises(ValueError, match="not in one"):
            execute(notebook, "x", old, "c")


def test_a_lesson_shows_its_real_size_or_that_it_has_one_size() -> None:
    for path in ENGLISH:
        notebook, number = read(path), path.name[:2]
        code = "\n".join(source(cell) for cell in cells(notebook, "code"))
        if "lk.scale(" not in code:
            assert any("same at both sizes" in source(cell) for cell in cells(notebook, "markdown")), (
                path.name
            )
            continue
        (shown,) = [cell for cell in cells(notebook, "code") if "lk.real_size(" in source(cell)]
        assert f'"{number}",' in source(shown)
        text = "".join("".join(each["data"]["text/plain"]) for each in shown["outputs"])
        stored = measured(number)
        assert ("not yet measured" in text) == (not stored), path.name
        assert set(stored.get("figures", {})) <= {line.partition("  ")[0] for line in text.splitlines()}


@pytest.mark.soak
@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: path.name)
def test_a_lesson_runs_at_its_real_size(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures (``lk.real_size``) are written to ``labkit/course/results``, from where the lesson shows them."""
    monkeypatch.setenv("LABKIT_SCALE", "full")
    monkeypatch.setenv("LABKIT_RESULTS", str(tmp_path))
    began = time.monotonic()
    ran(path, tmp_path)
    minutes, found = (time.monotonic() - began) / 60, tmp_path / f"{path.name[:2]}.json"
    if found.exists():
        run = {
            "minutes": round(minutes, 1),
            "date": f"{datetime.date.today()}",
            "processors": len(os.sched_getaffinity(0)),
            "command": f"python -m pytest -m soak tests/test_notebooks.py -k {path.stem}",
        }
        (RESULTS / found.name).write_text(json.dumps({**read(found), **run}, indent=1) + "\n", "utf-8")


@pytest.mark.soak
@pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.name)
def test_a_chinese_edition_runs_on_chinese_data(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the texts and models of ``lk.local``, claims included."""
    monkeypatch.setenv("LABKIT_LANGUAGE", "zh")
    ran(path, tmp_path)


# --- Chinese editions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CHINESE, ids=lambda path: path.name)
def test_a_chinese_edition_has_the_code_of_the_english_one(path: Path) -> None:
    notebook, other = read(path), read(path.with_name(path.name.replace(".zh.", ".")))
    assert [cell["id"] for cell in notebook["cells"]] == [cell["id"] for cell in other["cells"]]
    assert cells(notebook, "code") == cells(other, "code")
    for ours, theirs in zip(cells(notebook, "markdown"), cells(other, "markdown"), strict=True):
        assert re.search("[\u4e00-\u9fff]", source(ours)), f"{ours['id']} is not in Chinese"
        assert formulas(ours) == formulas(theirs), ours["id"]
        assert not re.search(f"{WIDE}\n{WIDE}", source(ours)), (
            f"{ours['id']}: a line ends where no space may be seen"
        )


#: What is written without spaces.
WIDE = "[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"


def formulas(cell: dict[str, Any]) -> list[str]:
    """The displayed formulas, but for the words in them."""
    return [
        re.sub(r"\\text\{[^}]*\}", "", found) for found in re.findall(r"\$\$.+?\$\$", source(cell), re.DOTALL)
    ]


# --- the rules find what breaks them ----------------------------------------------------------------------------------

OPENING = "# Title\n\n**You will be able to**\n\n- read this"
ANSWERS = ('lk.check("99.1", ...)', 'lk.check("99.2", ...)')


def lesson(
    *codes: str, opening: str = OPENING, closing: tuple[str, ...] = ANSWERS, **changes: Any
) -> dict[str, Any]:
    """A notebook that keeps every rule, but for what is given."""

    def cell(kind: str, text: str) -> dict[str, Any]:
        code = {"outputs": [], "execution_count": None} if kind == "code" else {}
        return {"cell_type": kind, "metadata": {}, "source": [text], **code}

    made = [cell("markdown", opening), *(cell("code", code) for code in codes or ("assert x",))]
    made += [cell("markdown", "## Exercises"), *(cell("code", code) for code in closing)]
    for place, each in enumerate(made):
        each["id"] = f"99-{place:02}"
    return {"cells": made, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5, **changes}


def found(notebook: dict[str, Any]) -> str:
    return "; ".join(problems(json.dumps(notebook), "99_x.ipynb", {"99_x.ipynb"}))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("assert x\n!pip install labkit", "99-01 installs something or uses a magic"),
        ("assert x\n%pip install labkit", "installs something"),
        ("import subprocess; subprocess.run('pip install x'); assert x", "installs something"),
        ("from labkit.data.prepare.split import leakage; assert x", "imports from labkit.data.prepare.split"),
        ("import labkit.data; assert x", "imports labkit.data"),
        ("import labkit as lk; lk.Store; assert x", "uses lk.Store, which is not public"),
        (
            "import labkit as lk; lk.TextCleaner.cleen; assert x",
            "uses lk.TextCleaner.cleen, which does not exist",
        ),
        ("run._model(); assert x", "uses the private name _model"),
        (f"assert x{'  # x' * 24}", "has a line of 128 characters"),
        ("assert 1 < 2", "claims what cannot fail: assert 1 < 2"),
        ("x = 1", "no claim is stated as an assert"),
        ("open('/home/ann/x'); assert x", "a path of one machine: /home/ann"),
        ("'http://localhost:8888/?token=abc1'; assert x", "a token: ?token=abc1"),
        ("assert x\n" + "#" * 200_000, "fewer than 200,000"),
    ],
)
def test_unfit_code_is_found(code: str, said: str) -> None:
    assert said in found(lesson(code))


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"output_type": "error", "ename": "ValueError"}, "99-01 keeps a traceback"),
        ({"output_type": "stream", "text": ["saved in /home/ann/x"]}, "a path of one machine: /home/ann"),
        (
            {"output_type": "display_data", "data": {"application/vnd.jupyter.widget-view+json": {}}},
            "keeps an output of application/vnd.jupyter.widget-view+json",
        ),
    ],
)
def test_an_unfit_output_is_found(output: dict[str, Any], said: str) -> None:
    notebook = lesson()
    notebook["cells"][1] |= {"outputs": [output], "metadata": {"tags": ["kept"]}}
    assert said in found(notebook) and "outputs without a count" in found(notebook)
    notebook["cells"][1]["execution_count"] = 1
    assert "outputs without a count" not in found(notebook)
    notebook["cells"][1]["metadata"] = {}
    assert "99-01 has outputs without a tag of kept" in found(notebook)


def test_an_unfit_frame_is_found() -> None:
    assert found(lesson()) == ""
    assert "metadata other than" in found(lesson(metadata={**METADATA, "widgets": {}}))
    assert "links to 98_y.ipynb, which is not there" in found(
        lesson(opening=f"{OPENING}\n[next](98_y.ipynb)")
    )
    assert (
        found(lesson(opening=f"{OPENING}\n[this](99_x.ipynb), [paper](https://arxiv.org/abs/1810.04805)"))
        == ""
    )
    assert "does not begin with a title" in found(lesson(opening="# Title\n\n- a list"))
    assert "does not end with ## Exercises" in found(lesson(closing=ANSWERS[:1]))
    assert "they must be 99.1, 99.2" in found(lesson(closing=ANSWERS[::-1]))
    for place, what, value, said in (
        (1, "execution_count", 3, "99-01 has an execution count without outputs"),
        (0, "id", "other", "ids of cells other than 99-00"),
        (0, "metadata", {"trusted": True}, "metadata of cells beside tags"),
        (1, "metadata", {"tags": ["nbval-check-output"]}, "99-01 is to keep outputs and has none"),
    ):
        notebook = lesson()
        notebook["cells"][place][what] = value
        assert said in found(notebook)
    assert tags(notebook["cells"][1]) == {"nbval-check-output"}


# --- terms ------------------------------------------------------------------------------------------------------------

GLOSSARY = (Path(__file__).parent.parent / "labkit" / "docs" / "glossary.md").read_text("utf-8")
#: Term → the lesson that introduces it.
TERMS = {
    term: lesson
    for term, lesson in re.findall(r"^\| ([^|]+?) \| [^|]+ \| [^|]+ \| (\d\d) \|$", GLOSSARY, re.MULTILINE)
}
#: Prose that may use a term before it is introduced: the tour, what a lesson promises, links to the next one.
_TOUR = "00"


def prose(cell: dict[str, Any]) -> str:
    """The words of a cell, without code, formulas and addresses."""
    return re.sub(r"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)", "", source(cell), flags=re.DOTALL)


def occurs(term: str, text: str) -> bool:
    words = re.escape(term).replace(r"\ ", r"\s+").replace("modelling", "model")
    return bool(re.search(rf"\b{words}", text, re.IGNORECASE))


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_introduced_before_it_is_used(term: str) -> None:
    used: list[str] = []
    for path in ENGLISH:
        texts = cells(read(path), "markdown")
        for number, cell in enumerate(texts):
            bold = " ".join(re.findall(r"\*\*(.+?)\*\*", prose(cell), re.DOTALL))
            if occurs(term, bold) and path.name.startswith(TERMS[term]):
                assert not used, f"{term} is used in {', '.join(used)} and introduced in {cell['id']}"
                return
            may = path.name.startswith(_TOUR) or number == 0 or source(cell).startswith("Next: ")
            if occurs(term, prose(cell)) and not may:
                used.append(cell["id"])
    pytest.fail(f"lesson {TERMS[term]} does not introduce {term} in bold")


def test_the_glossary_has_the_terms_of_every_lesson() -> None:
    assert len(TERMS) >= 60 and {f"{lesson:02}" for lesson in range(13)} <= set(TERMS.values())


@pytest.mark.parametrize("start", ["00_start_here.ipynb", "00_start_here.zh.ipynb"])
def test_the_start_page_lists_every_lesson_after_those_that_it_needs(start: str) -> None:
    editions = CHINESE if start.endswith(".zh.ipynb") else ENGLISH
    text = "\n".join(
        source(cell) for cell in read(Path(__file__).parent.parent / "notebooks" / start)["cells"]
    )
    rows = re.findall(
        r"^\| \[(\d\d)\]\(([^)]+)\) \| [^|]+ \| \d+ \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE
    )
    assert [name for _, name, _ in rows] == [path.name for path in editions]
    for number, _, needs in rows:
        assert all(need < number for need in re.findall(r"\d\d", needs)), number


def test_the_page_of_the_course_counts_what_the_notebooks_have() -> None:
    assert course_table.PAGE.read_text("utf-8") == course_table.page(), "run python -m tests.course_table"
