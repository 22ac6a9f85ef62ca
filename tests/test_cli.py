"""The command line: what it passes on, what it prints, how it fails. ``labkit.api`` is played by a recorder."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

import labkit
from labkit.cli import doctor, lab, main, predict
from labkit.cli.doctor import Finding
from labkit.cli.main import app
from labkit.core.errors import RunError
from labkit.inference.predictor import NumericPrediction, Prediction, Predictions, Predictor
from labkit.runs.store import Store
from tests.shown import shown_html


@dataclass
class FakeRun:
    over: bool = False
    calls: list = field(default_factory=list)
    id: str = "20260101-000000-abcdef"
    name: str = "first"
    history: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"step": [1, 2], "loss": [0.5, None]}))

    @property
    def info(self):
        told = {"summary": {"warnings": ["Truncated to 9."]}, "error": "Loss is not a number."}
        return SimpleNamespace(over=self.over, cure="Lower the learning rate.", **told)

    def toml(self) -> str:
        return 'name = "first"\n'

    def __getattr__(self, name: str):
        if name in ("stop", "pause", "resume", "start", "delete"):
            return lambda **options: self.calls.append((name, options))
        raise AttributeError(name)

    def __repr__(self) -> str:
        return "<run 'first': running>"


class Table(list):
    def to_pandas(self) -> pd.DataFrame:
        return pd.DataFrame({"id": ["a"], "validation_f1": [float("nan")], "seconds": [1.5]})

    def __repr__(self) -> str:
        return "id  validation_f1"


class Model(Predictor):
    """Records what it is asked; it has been trained on ``columns``, or on texts that nobody has noted."""

    def __init__(self, batches: list):
        self.batches, self.problem_type, self.processor = batches, "class", SimpleNamespace(modality="text")
        self.experiment = SimpleNamespace(data=SimpleNamespace(columns=()))

    def predictions(self, examples, pairs=None, **settings):
        self.batches.append(examples if pairs is None else list(zip(examples, pairs, strict=True)))
        return Predictions(Prediction("pos", 0.75, {"neg": 0.25, "=pos": 0.75}) for _ in examples)


@pytest.fixture
def front(monkeypatch) -> SimpleNamespace:
    """Stands in for labkit.lab; ``calls`` lists what the command line asked for."""
    fake = SimpleNamespace(run=FakeRun(), calls=[], batches=[])

    def entry(name: str, result):
        def call(*args, **options):
            fake.calls.append((name, args, options))
            if isinstance(result, BaseException):
                raise result
            return result

        return call

    fake.model = model = Model(fake.batches)
    module = ModuleType("labkit.api")
    module.train, module.open_run = entry("train", fake.run), entry("open_run", fake.run)
    module.runs, module.predictor = entry("runs", Table()), entry("predictor", model)
    module.row_predictor = entry("row_predictor", model)
    fake.entry, fake.module = entry, module
    monkeypatch.setitem(sys.modules, "labkit.api", module)
    monkeypatch.setattr(labkit, "api", module, raising=False)
    return fake


def command(*words: object, code: int = 0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


# --- the frame --------------------------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    text = command("--help").stdout
    assert all(name in text for name in ("lab", "doctor", "train", "predict", "runs", "samples"))


def test_the_version() -> None:
    assert command("--version").stdout == f"{labkit.__version__}\n"


def test_an_error_that_labkit_explains_is_one_message_and_code_2(front) -> None:
    front.module.open_run = front.entry(
        "open_run", RunError("there is no run 'frist'. Did you mean 'first'?")
    )
    result = command("runs", "stop", "frist", code=2)
    assert result.stderr == "labkit: there is no run 'frist'. Did you mean 'first'?\n" and result.stdout == ""


def test_an_error_that_labkit_does_not_know_keeps_its_traceback(front) -> None:
    front.module.runs = front.entry("runs", ZeroDivisionError())
    assert isinstance(command("runs", code=1).exception, ZeroDivisionError)


def test_an_interrupt_is_code_130(front) -> None:
    front.module.train = front.entry("train", KeyboardInterrupt())
    assert "Traceback" not in command("train", "x.toml", code=130).output


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_ctrl_c_in_a_real_process_is_code_130() -> None:
    code = (
        "import labkit.cli.doctor as d, time\n"
        "d.examine = lambda: (print('up', flush=True), time.sleep(600))\n"
        "import sys; sys.argv = ['labkit', 'doctor']; from labkit.cli.main import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "up\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (130, "")


# --- train, runs ------------------------------------------------------------------------------------------------


def test_train_passes_everything_on(front) -> None:
    text = command("train", "x.toml", "--name", "n", "--folder", "f").stdout
    assert front.calls == [
        ("train", (Path("x.toml"),), {"resume": None, "name": "n", "folder": Path("f"), "changes": {}})
    ]
    assert text == f"<run 'first': running>\nlabkit predict {front.run.id} 'some text'\n"


def test_train_takes_up_a_run(front) -> None:
    command("train", "--resume", "first")
    assert front.calls == [
        ("train", (None,), {"resume": "first", "name": None, "folder": None, "changes": {}})
    ]


def test_settings_of_the_file_are_changed_by_name(front) -> None:
    words = (
        "--set",
        "train.epochs=5",
        "--set",
        "name=first try",
        "--set",
        'metric = "f1"',
        "--set",
        "freeze=['a', 'b']",
    )
    command("train", "x.toml", *words)
    changes = front.calls[0][2]["changes"]
    assert changes == {"train.epochs": 5, "name": "first try", "metric": "f1", "freeze": ["a", "b"]}
    for wrong in ("epochs", "=5"):
        assert "give a name and a value" in command("train", "x.toml", "--set", wrong, code=2).stderr
    assert "keeps its settings" in command("train", "--resume", "x", "--set", "epochs=5", code=2).stderr


@pytest.mark.parametrize("words", [[], ["x.toml", "--resume", "first"]])
def test_train_needs_a_file_or_a_run(words, front) -> None:
    assert "give either an experiment file or --resume RUN" in command("train", *words, code=2).stderr
    assert front.calls == []


def test_runs_lists_for_people_and_for_programs(front) -> None:
    assert command("runs", "--folder", "f").stdout == "id  validation_f1\n"
    assert front.calls == [("runs", (Path("f"),), {})]
    assert json.loads(command("runs", "--json").stdout) == [
        {"id": "a", "validation_f1": None, "seconds": 1.5}
    ]


def test_runs_are_deleted_once_confirmed(front) -> None:
    front.run.status = "finished"
    asked = CliRunner().invoke(app, ["runs", "rm", "first"], input="n\n")
    assert "Delete first" in asked.stdout and asked.exit_code == 0 and front.run.calls == []
    assert command("runs", "rm", "first", "--yes").stdout == f"first ({front.run.id}) deleted\n"
    assert front.run.calls == [("delete", {})]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_list_of_runs_fits_the_terminal(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    experiment = 'model = {name = "bert", preset = "minilm-l6"}\ndata = {source = "/a/b/reviews.csv"}'
    summary = {"metric": "f1", "validation_f1": 0.5, "test_f1": 0.8125}
    store.create(
        "20260101-000000-abcdef", "a long name for a run " * 3, experiment=experiment, summary=summary
    )
    store.create("b", "red", status="failed")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    from labkit.cli.runs import print_table

    with redirect_stdout(io.StringIO()) as file:
        print_table(labkit.runs(tmp_path))
    lines = file.getvalue().splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= width and "red" in lines[1] and "failed" in lines[1]
    assert "20260101-000000-abcdef" in lines[2]
    if width == 200:
        assert all(
            part in lines[2] for part in ("F1 0.812 (test)", "bert minilm-l6", "reviews.csv", "now", "abcdef")
        )
    shown = repr(labkit.runs(tmp_path))
    assert "F1 0.812 (test)" in shown and "reviews.csv" in shown_html(labkit.runs(tmp_path))


def test_show_says_all_about_a_run(front) -> None:
    text = command("runs", "show", "first").stdout
    for part in (
        "<run 'first': running>",
        front.run.id,
        "Truncated to 9.",
        "not a number. Lower the",
        "loss",
        'name = "first"',
    ):
        assert part in text
    assert command("runs", "show", "first", "--toml").stdout == 'name = "first"\n'


@pytest.mark.parametrize(
    "words", [["runs", "--folder", "f", "stop", "x"], ["runs", "stop", "x", "--folder", "f"]]
)
def test_the_folder_may_stand_on_either_side(words, front) -> None:
    command(*words)
    assert front.calls == [("open_run", ("x",), {"folder": Path("f")})]


@pytest.mark.parametrize(
    ("verb", "over", "done"),
    [
        ("stop", False, ("stop", {})),
        ("pause", False, ("pause", {})),
        ("resume", False, ("resume", {})),
        ("resume", True, ("start", {"detach": True})),  # a thread would end with the command
    ],
)
def test_runs_are_steered(verb, over, done, front) -> None:
    front.run.over = over
    assert command("runs", verb, "first").stdout.startswith(f"first ({front.run.id}) ")
    assert front.run.calls == [done]


# --- predict ----------------------------------------------------------------------------------------------------


def test_predict_answers_texts_a_line_each(front) -> None:
    text = command("predict", "first", "good", "a\x1b[2Jb\nc", "--folder", "f").stdout
    assert text == "pos\t0.7500\tgood\npos\t0.7500\ta␛[2Jb c\n"
    assert front.calls == [("row_predictor", ("first",), {"folder": Path("f"), "plugins": ()})]
    assert front.batches == [["good", "a\x1b[2Jb\nc"]]


HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b31m\u202eb\x7f\rc"
SHOWN = "a␛]0;title␇␛[2J\\u009b31m\\u202eb␡␍c"


def harmless(text: str) -> bool:
    return not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_answers_reach_the_terminal_escaped_and_files_as_they_are(front, tmp_path) -> None:
    answers = [Prediction(HOSTILE, 0.75, {HOSTILE: 0.75, "neg": 0.25}), NumericPrediction({HOSTILE: 1.5})]
    front.model.predictions = lambda examples, pairs=None, **settings: Predictions(
        [answers[len(str(examples[0])) % 2]] * len(examples)
    )
    assert command("predict", "first", "good", HOSTILE + "\n").stdout.splitlines() == [
        f"{SHOWN}\t0.7500\tgood", f"{SHOWN}\t0.7500\t{SHOWN.replace('␍', ' ')} "
    ]  # fmt: skip
    assert command("predict", "first", "odd").stdout == f"{SHOWN} 1.5\todd\n"
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"text": "good", HOSTILE: HOSTILE + "\nd"}) + "\n")
    shown = command("predict", "first", "--file", source)
    assert harmless(shown.stdout) and shown.stdout.count(SHOWN) == 4
    command("predict", "first", "--file", source, "--out", tmp_path / "out.csv")
    head, row = read(tmp_path / "out.csv")
    assert head[1] == HOSTILE and row[1:3] == [HOSTILE + "\nd", HOSTILE]
    command("predict", "first", "--file", source, "--out", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["predicted"] == HOSTILE


def test_names_and_errors_reach_the_terminal_escaped(front, tmp_path, monkeypatch) -> None:
    front.run.name = HOSTILE
    front.run.history = pd.DataFrame({HOSTILE: [HOSTILE]})
    front.run.toml = lambda: f'name = "{HOSTILE[-4]}"\n'  # U+202E, as TOML holds it
    monkeypatch.setattr(FakeRun, "__repr__", lambda self: f"<run {self.name}>")
    monkeypatch.setattr(Table, "__repr__", lambda self: f"id\n{HOSTILE}")
    for words in (["runs"], ["runs", "show", "x"], ["runs", "stop", "x"], ["train", "x.toml"]):
        text = command(*words).stdout
        assert harmless(text) and SHOWN[:12] in text, words
    assert tomllib.loads(command("runs", "show", "x", "--toml").stdout) == {"name": HOSTILE[-4]}
    front.module.open_run = front.entry("open_run", RunError(f"there is no run {HOSTILE}.\nName another."))
    assert command("runs", "stop", "x", code=2).stderr == f"labkit: there is no run {SHOWN}.\nName another.\n"
    assert harmless(command("predict", "first", "text", f"--{HOSTILE}", code=2).output)
    (tmp_path / "in.csv").write_text(f"{HOSTILE},other\n1,2\n", newline="")
    assert harmless(command("predict", "first", "--file", tmp_path / "in.csv", code=2).output)


def test_a_traceback_reaches_the_terminal_escaped(front, monkeypatch, capsys) -> None:
    front.module.runs = front.entry("runs", ZeroDivisionError(HOSTILE))
    monkeypatch.setattr(sys, "argv", ["labkit", "runs"])
    with pytest.raises(SystemExit) as left:
        main.main()
    said = capsys.readouterr().err
    assert left.value.code == 1 and harmless(said) and f"ZeroDivisionError: {SHOWN}" in said


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_sigterm_ends_the_endpoint_after_the_requests_in_work(front) -> None:
    class Served:
        url, token, closed = "http://127.0.0.1:1", "token", False

        def __enter__(self):
            return self

        def __exit__(self, *_):
            os.kill(os.getpid(), signal.SIGTERM)  # a second one, while requests are answered
            time.sleep(0.01)
            self.closed = True

        def wait(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    served, before = Served(), signal.getsignal(signal.SIGTERM)
    front.module.serve = lambda *_, **__: served
    command("serve", "first", code=0)
    assert served.closed and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("words", [[], ["text", "--file", "x.csv"]])
def test_predict_needs_texts_or_a_file(words, front) -> None:
    assert "give texts or --file" in command("predict", "first", *words, code=2).stderr


def table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


NEW = ["predicted", "confidence", "probability neg", "probability =pos"]
VALUES = ["pos", "0.750000", "0.250000", "0.750000"]


def test_a_table_keeps_its_columns_and_gets_the_answers(front, tmp_path) -> None:
    source = table(tmp_path / "in.csv", '\ufeffid,text\r\n1,good\r\n\r\n2,"two\nlines, ""quoted"""\r\n')
    result = command("predict", "first", "--file", source, "--out", tmp_path / "out.csv")
    assert front.batches == [["good", 'two\nlines, "quoted"']] and "2 rows" in result.stderr
    head, *rows = read(tmp_path / "out.csv")
    assert head == ["id", "text", *NEW]
    assert rows == [["1", "good", *VALUES], ["2", 'two\nlines, "quoted"', *VALUES]]
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "out.csv"]


def test_a_long_table_is_predicted_in_pieces_and_may_go_to_the_terminal(front, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(predict, "CHUNK", 2)
    source = table(tmp_path / "in.tsv", "text\none\ntwo\nthree\n")
    lines = command("predict", "first", "--file", source).stdout.splitlines()
    assert (
        front.batches == [["one", "two"], ["three"]] and len(lines) == 4 and lines[3].startswith("three,pos,")
    )


def test_every_kind_of_table_is_read_as_when_it_is_loaded(front, tmp_path) -> None:
    table(tmp_path / "a.csv", "text;label\ngood film;pos\nbad, film;neg\n")
    table(tmp_path / "a.tab", "text\tlabel\ngood film\tpos\nbad, film\tneg\n")
    table(tmp_path / "a.jsonl", '{"text": "good film"}\n{"text": "bad, film"}\n')
    table(tmp_path / "a.txt", "good film\n\nbad, film\n")
    pd.DataFrame({"text": ["good film", "bad, film"], "n": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    table(tmp_path / "b.csv", 'good film\n"bad, film"\n')
    for name, *more in (
        ["a.csv"],
        ["a.tab"],
        ["a.jsonl"],
        ["a.txt"],
        ["a.parquet"],
        ["b.csv", "--name", "text"],
    ):
        lines = command("predict", "first", "--file", tmp_path / name, *more).stdout.splitlines()
        assert len(lines) == 3 and "text" in lines[0], name
    assert front.batches == [["good film", "bad, film"]] * 6


def test_a_file_is_not_taken_for_a_text(front, tmp_path) -> None:
    source = table(tmp_path / "in.csv", "text\ngood\n")
    assert (
        f"is a file: labkit predict RUN --file {source}" in command("predict", "first", source, code=2).stderr
    )
    assert (
        command("predict", "first", "in.csv").stdout == "pos\t0.7500\tin.csv\n"
    )  # there is no such file here


def test_answers_are_written_as_json_lines(front, tmp_path) -> None:
    pd.DataFrame({"text": ["gut", "ö"], "n": [1.5, None], "tags": [["a"], []]}).to_parquet(
        tmp_path / "a.parquet"
    )
    command("predict", "first", "--file", tmp_path / "a.parquet", "--out", tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    answer = {"predicted": "pos", "confidence": 0.75, "probability": {"neg": 0.25, "=pos": 0.75}}
    assert lines == [
        {"text": "gut", "n": 1.5, "tags": ["a"], **answer},
        {"text": "ö", "n": None, "tags": [], **answer},
    ]
    front.model.problem_type = "labels"
    command("predict", "first", "--file", tmp_path / "a.parquet", "--out", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text("utf-8").splitlines()[0])["predicted"] == []
    assert "ö,,[],pos" in command("predict", "first", "--file", tmp_path / "a.parquet").stdout


def test_the_columns_of_the_training_are_known(front, tmp_path) -> None:
    front.model.experiment.data.columns = ("review",)
    source = table(tmp_path / "in.csv", "id,review,text\n1,good,x\n")
    command("predict", "first", "--file", source)
    command("predict", "first", "--file", source, "--column", "text")
    front.model.experiment.data.columns = ("text", "review")
    command("predict", "first", "--file", source)
    assert front.batches == [["good"], ["x"], [("x", "good")]]
    front.model.experiment.data.columns = ("text",)
    said = command("predict", "first", "--file", source, "--pair", "review", code=2).stderr
    assert "this model needs one text ('text'), but two are given" in said


def test_columns_pairs_and_encodings_can_be_named(front, tmp_path) -> None:
    source = table(tmp_path / "in.csv", "问,答\n天气,好\n", "gb18030")
    words = ["--column", "问", "--pair", "答", "--encoding", "gb18030", "--out", tmp_path / "out.csv"]
    command("predict", "first", "--file", source, *words)
    assert front.batches == [[("天气", "好")]]


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"), ("+cmd|x", "'+cmd|x"), ("-2+3", "'-2+3"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"), ("  =1", "'  =1"), ("\uff1d1", "'\uff1d1"), ("-5", "-5"), ("+1.5e3", "+1.5e3"),
        ("a=1", "a=1"), ("", ""), ("5", "5"),
    ],
)  # fmt: skip
def test_no_cell_can_act_as_a_formula(cell, safe, front, tmp_path) -> None:
    with (tmp_path / "in.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["=id", "text"], [cell, "good"]])
    command("predict", "first", "--file", tmp_path / "in.csv", "--out", tmp_path / "out.csv")
    head, row = read(tmp_path / "out.csv")
    assert head[0] == "'=id" and row[0] == safe


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id,txt\n1,a\n", "no column 'text', which the model needs. Did you mean 'txt'? It has: id, txt."),
        (b"", "'in.csv' has 0 rows: it is empty."),
        (b"id,text\n1\n", "wrong number of fields (1): row 0 (line 2: 1 fields, expected 2)"),
        (b'id,text\n1,"open\n', "a quote opened in the record at line 2 is never closed"),
        (
            b"good film\nbad film\n",
            "Name the column (--column, --pair), or all columns of a file without a header",
        ),
        (b"id,text\n1,a\n2,\n3,\n", "2 of 3 rows have no text in column 'text': rows 1, 2."),
    ],
)
def test_a_bad_table_is_explained_and_leaves_the_old_answers(content, said, front, tmp_path) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    table(tmp_path / "out.csv", "old")
    result = command("predict", "first", "--file", tmp_path / "in.csv", "--out", tmp_path / "out.csv", code=2)
    assert said in result.stderr and (tmp_path / "out.csv").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "out.csv"]


def test_files_that_cannot_be_used_are_explained(front, tmp_path) -> None:
    source = table(tmp_path / "in.csv", "text\ngood\n")
    words = ["predict", "first", "--file"]
    assert "not found" in command(*words, tmp_path / "none.csv", code=2).stderr
    said = command(*words, source, "--out", tmp_path / "out.txt", code=2).stderr
    assert "supported output formats are .csv or .jsonl" in said
    assert "is also the input file" in command(*words, source, "--out", source, code=2).stderr
    assert "cannot write" in command(*words, source, "--out", tmp_path / "none" / "out.csv", code=2).stderr
    assert "unknown encoding 'klingon'" in command(*words, source, "--encoding", "klingon", code=2).stderr
    assert source.read_text() == "text\ngood\n"


# --- lab, samples -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["here", "--no-browser", "--port", "9999"], ["here", "--", "--no-browser", "--port", "9999"]]
)
def test_lab_copies_and_starts(words, tmp_path, monkeypatch) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / lab.TOUR).write_text("tour")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lab, "tutorials", lambda: tmp_path / "from")
    started = []
    monkeypatch.setattr(lab, "start", lambda *given: started.append(given) or 3)
    assert "1 added, 0 updated" in command("lab", *words, code=3).stderr
    assert started == [(Path("here"), ["--no-browser", "--port", "9999"])]
    assert (tmp_path / "here" / lab.TOUR).read_text() == "tour"


def test_samples_are_listed_fetched_and_verified(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    assert (
        "digits" in command("samples").stdout
        and command("samples", "list").stdout == command("samples").stdout
    )
    assert command("samples", "fetch", "digits").stdout == f"digits: {tmp_path / 'samples' / 'digits'}\n"
    assert command("samples", "verify", "digits").stdout == "digits: ok\n"
    member = tmp_path / "samples" / "digits" / "digits.csv.gz"
    member.write_bytes(bytes(member.stat().st_size))
    assert (
        command("samples", "verify", "digits").stdout == "digits: damaged, downloaded again: digits.csv.gz\n"
    )
    assert "Did you mean 'digits'?" in command("samples", "fetch", "digit", code=2).stderr
    assert "labkit samples fetch bert-tiny" in command("samples", "fetch", "bert-tiny", code=2).stderr


# --- doctor -----------------------------------------------------------------------------------------------------


def test_the_doctor_finds_this_machine_able() -> None:
    findings = {finding.name: finding for finding in doctor.examine()}
    assert {"system", "packages", "devices", "memory", "cache", "disk", "jupyterlab", "samples"} <= set(
        findings
    )
    assert [str(found) for found in findings.values() if found.state == "broken"] == []
    assert "JAX computes on 1: cpu" in findings["devices"].text or os.environ["JAX_PLATFORMS"] != "cpu"


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warning", 0), ("broken", 1)])
def test_only_what_is_broken_makes_the_doctor_fail(state, code, monkeypatch) -> None:
    found = Finding("thing", state, "is so", "" if state == "ok" else "do this")
    monkeypatch.setattr(doctor, "examine", lambda: [found])
    assert json.loads(command("doctor", "--json", code=code).stdout) == [
        {"name": "thing", "state": state, "text": "is so", "cure": found.cure}
    ]
    text = command("doctor", code=code).stdout
    assert text.startswith(f"{doctor.MARKS[state]} thing        is so\n") and ("→ do this" in text) == (
        state != "ok"
    )


def only(check, **changes) -> list[Finding]:
    return list(check(**changes))


def test_the_doctor_names_packages_that_are_missing_or_bad(monkeypatch) -> None:
    wanted = {
        "": ["tqdm>=4", "flax>=0.12.8,<0.13"],
        "lab": ["jupyter_server>=2.18"],
        "mpi": ["mpi4py>=4"],
        "train": [],
    }
    versions = {"flax": "0.13.0", "jupyter_server": "2.17.0"}
    monkeypatch.setattr(
        doctor,
        "requirements",
        lambda: {extra: list(map(Requirement, lines)) for extra, lines in wanted.items()},
    )
    monkeypatch.setattr(doctor, "version_of", versions.get)
    found = only(doctor.check_packages)
    assert [(each.name, each.text, each.cure) for each in found if each.state == "broken"] == [
        ("tqdm", "is not installed", 'python -m pip install "tqdm>=4"'),
        (
            "flax",
            "0.13.0 is installed; labkit needs <0.13,>=0.12.8",
            'python -m pip install "flax<0.13,>=0.12.8"',
        ),
        (
            "jupyter_server",
            "2.17.0 is installed; labkit needs >=2.18",
            'python -m pip install "jupyter_server>=2.18"',
        ),
    ]
    assert found[-1].text.endswith("not installed: mpi (python -m pip install 'labkit[mpi]')")


def test_the_doctor_reads_the_requirements_of_an_installed_package(monkeypatch) -> None:
    metadata = Message()
    for name in ("lab", "train"):
        metadata["Provides-Extra"] = name
    for line in ("tqdm>=4", 'colorama; platform_system == "Plan9"', "labkit[train]; extra == 'lab'",
                 "plotly>=6; extra == 'lab'", 'orbax>=1; python_version > "3" and extra == "train"'):  # fmt: skip
        metadata["Requires-Dist"] = line
    monkeypatch.setattr(doctor.tomllib, "loads", lambda text: {})
    monkeypatch.setattr(doctor.importlib.metadata, "metadata", lambda name: metadata)
    found = {extra: [each.name for each in listed] for extra, listed in doctor.requirements().items()}
    assert found == {"": ["tqdm"], "lab": ["plotly"], "train": ["orbax"]}


def test_a_jax_that_fails_or_hangs_is_a_line_of_the_report(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "ASK_JAX", "import os; os.abort()")
    assert only(doctor.check_devices)[0].text.startswith("JAX does not work: ")
    monkeypatch.setattr(doctor, "ASK_JAX", "import no_such_driver")
    assert "No module named 'no_such_driver'" in only(doctor.check_devices)[0].text
    monkeypatch.setattr(doctor, "ASK_JAX", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "PATIENCE", 0.2)
    assert only(doctor.check_devices)[0].cure == "Set JAX_PLATFORMS=cpu to go on without it."


def test_an_unused_graphics_card_is_pointed_out(monkeypatch) -> None:
    answer = {"devices": [{"kind": "cpu", "platform": "cpu", "memory": None}], "total": 64.0}
    monkeypatch.setattr(doctor, "ASK_JAX", f"print({json.dumps(json.dumps(answer))})")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert (
        only(doctor.check_devices)[0].state == "warning" and "jax[cuda" in only(doctor.check_devices)[0].cure
    )
    answer["devices"] = [{"kind": "NVIDIA H100", "platform": "gpu", "memory": 8e10}]
    monkeypatch.setattr(doctor, "ASK_JAX", f"print({json.dumps(json.dumps(answer))})")
    assert str(only(doctor.check_devices)[0]) == "✓ devices      JAX computes on 1: NVIDIA H100 (80 GB)"


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize(("mode", "state"), [(0o700, "ok"), (0o750, "warning"), (0o777, "broken")])
def test_a_cache_that_others_can_fill_is_broken(mode, state, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    tmp_path.chmod(mode)
    found = only(doctor.check_cache)[0]
    assert found.state == state and bool(found.cure) == (state != "ok") and os.listdir(tmp_path) == []


def test_a_cache_that_cannot_be_made_is_broken(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file" / "cache"))
    assert [(found.state, found.cure) for found in only(doctor.check_cache)] == [
        ("broken", "Set LABKIT_CACHE to a folder you can write.")
    ]


def test_a_missing_extension_of_jupyterlab_is_broken(tmp_path, monkeypatch) -> None:
    import jupyter_core.paths

    monkeypatch.setattr(jupyter_core.paths, "jupyter_path", lambda *names: [str(tmp_path)])
    for name in ("anywidget", "jupyterlab-plotly"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "package.json").write_text("{}")
    (found,) = only(doctor.check_jupyter)
    assert found.state == "broken" and "@jupyter-widgets/jupyterlab-manager is missing" in found.text


def test_a_check_that_fails_itself_does_not_stop_the_others(monkeypatch) -> None:
    def check_odd():
        raise OSError("odd")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (check_odd, doctor.check_system))
    first, second = doctor.examine()
    assert (
        (first.name, first.state) == ("odd", "broken")
        and "OSError('odd')" in first.text
        and second.state == "ok"
    )


def test_bytes_for_people() -> None:
    sizes = [doctor.size(count) for count in (0, 999, 1500, 15_000, 2.5e9, 3.2e12)]
    assert sizes == ["0 B", "999 B", "1.5 kB", "15 kB", "2.5 GB", "3.2 TB"]


def test_runs_with_hostile_names_are_listed_a_line_each(tmp_path) -> None:
    Store(tmp_path).create("a", HOSTILE + "\nb", steps=3)
    text = command("runs", "--folder", tmp_path).stdout
    assert harmless(text) and len(text.splitlines()) == 2 and repr(labkit.runs(tmp_path)) + "\n" == text
