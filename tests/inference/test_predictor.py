"""One predictor: whatever way an example comes in, it is read as in training and answered alike, or refused by name."""

from __future__ import annotations

import csv
import http.client
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from PIL import Image
from scipy.io import wavfile
from typer.testing import CliRunner

import labkit as lk
from labkit.cli.main import app
from labkit.core.errors import ConfigError, DataError, WeightsError
from labkit.data.io.load import read_table
from labkit.data.io.pixels import Pixels
from labkit.inference.answer_files import write_answers
from labkit.inference.server import Endpoint

SMALL = {"preset": "tiny", "width": 16, "depth": 1, "heads": 2, "mlp_width": 16, "max_length": 32}
HOW = {"background": False, "epochs": 1, "max_length": 16, "vocabulary": 200, "batch_size": 16}


def fitted(folder: Path, rows: Any, model: Any = None, **how: Any) -> Any:
    bert = model is None
    return lk.fit(
        rows, lk.models["bert"](**SMALL) if bert else model, folder=folder, **({**HOW, **how} if bert else {
            "background": False, "epochs": 1, "batch_size": 16, **how
        })
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def single(lab):
    rows = [
        {"id": i, "review": f"{w} film {i}", "mood": m}
        for i in range(20)
        for w, m in (("good", "a"), ("bad", "b"))
    ]
    return fitted(lab, lk.load(rows, text="review", label="mood"))


@pytest.fixture(scope="module")
def pairs(lab):
    rows = [
        {"premise": f"it is {i}", "claim": f"{'so' if i % 2 else 'no'} {i}", "label": str(i % 2)}
        for i in range(40)
    ]
    return fitted(lab, lk.load(rows, text=("premise", "claim")))


@pytest.fixture(scope="module")
def table(lab):
    rows = [{"x": i, "size": ["small", "large"][i % 2], "price": 1000.0 + i} for i in range(60)]
    return fitted(lab, lk.load(rows, features=("x", "size"), number="price"), "mlp")


@pytest.fixture(scope="module")
def tags(lab):
    rows = [
        {"text": f"{'old' if i % 2 else 'new'} tree {i}", "tags": [["a, b"], ["c"]][i % 2]} for i in range(40)
    ]
    return fitted(lab, lk.load(rows, label="tags"))


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A folder of pictures by class, of several sizes."""
    folder, random = tmp_path_factory.mktemp("pets"), np.random.default_rng(0)
    for place, name in enumerate(("dark", "light")):
        (folder / name).mkdir()
        for number in range(20):
            pixels = random.integers(0, 60, (9, 8, 3), np.uint8) + np.uint8(190 * place)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def pictures(lab, pets):
    return fitted(lab, lk.load(pets, size=8), lk.models["cnn"](preset="small", widths=(4,)))


def command(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def ask(run: Any, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    with Endpoint(run.predictor, rate=1000) as endpoint:
        return request(endpoint, body, **headers)


def request(endpoint: Endpoint, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
    given = {"Authorization": f"Bearer {endpoint.token}", "Content-Type": "application/json", **headers}
    connection.request("POST", "/predict", json.dumps(body), given)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def close(found: Any, wanted: Any) -> None:
    assert [one.label for one in found] == [one.label for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-5)


# --- texts ----------------------------------------------------------------------------------------------------------


def test_tables_are_answered_by_the_column_of_the_training(single, tmp_path):
    texts = ["good film 3", "a bad, bad film"]
    wanted = single.predict(texts)
    assert single.predictor.columns == ("review",)
    frame = pd.DataFrame({"text": ["x", "y"], "review": texts, "n": [1, 2]})
    frame.to_csv(tmp_path / "a.csv", index=False, sep=";")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "a.parquet")
    records = frame.to_dict("records")
    for given in (
        records,
        frame,
        Dataset.from_list(records),
        *map(str, sorted(tmp_path.iterdir())),
        tmp_path / "a.csv",
    ):
        close(single.predict(given), wanted)
    exported = lk.Predictor(single.export(tmp_path / "out"))
    assert exported.columns == ("review",)
    close(exported.predict(frame), wanted)
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        command("predict", tmp_path / "out", "--file", tmp_path / name, "--out", tmp_path / "answers.csv")
        with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        assert [line["predicted"] for line in lines] == [one.label for one in wanted]
        assert [line["review"] for line in lines] == texts and lines[0]["n"] == "1"


def test_truncated_texts_are_said_everywhere(single, tmp_path):
    texts = ["good film 3", "good film " * 400, "bad film 3 " * 300]
    found, said = single.predict(texts), "2 of 3 texts are longer than the 16 tokens that the model reads"
    assert found.truncated == 2 and found.notes[0].startswith(said) and single.predict(texts[:1]).notes == ()
    assert said in command("predict", single.export(tmp_path / "out"), *texts).stderr
    (tmp_path / "new.csv").write_text("".join(f"{text}\n" for text in ("review", *texts)))
    assert said in command("predict", tmp_path / "out", "--file", tmp_path / "new.csv").stderr
    status, answer = ask(single, {"texts": texts})
    assert status == 200 and answer["notes"][0].startswith(said)
    status, answer = ask(single, {"texts": texts[:1]})
    assert status == 200 and set(answer) == {"predictions"}


def test_a_dict_is_one_row_or_columns(single, pairs, table):
    close(single.predict({"review": "good film 3"}), single.predict([{"review": "good film 3"}]))
    close(single.predict({"id": 3, "review": "good film 3"}), single.predict(["good film 3"]))
    close(
        single.predict({"review": ["good film 3", "bad film 4"]}),
        single.predict(["good film 3", "bad film 4"]),
    )
    close(pairs.predict({"premise": "it is 3", "claim": "so 3"}), pairs.predict(["it is 3"], ["so 3"]))
    assert len(pairs.predict({"premise": "it is 3", "claim": "so 3"})) == 1
    for row in (
        {"x": 3, "size": "small"},
        {"x": np.float32(3), "size": "small"},
        {"x": None, "size": "small"},
    ):
        assert table.predict(row) == table.predict([row])
    assert table.predict({"x": [3, 4], "size": ["small", "large"]})[:1] == table.predict(
        {"x": 3, "size": "small"}
    )
    with pytest.raises(DataError, match="no text in column 'review'"):
        single.predict({"review": None})
    with pytest.raises(DataError, match="no column 'x'"):
        table.predict({"size": "small"})


def test_a_missing_or_unknown_text_is_refused(single, tmp_path):
    with pytest.raises(DataError, match=r"text 1 is missing"):
        single.predict(["good", None])
    with pytest.raises(DataError, match=r"2 of 3 rows have no text in column 'review': rows 1, 2\."):
        single.predict([{"review": "good"}, {"review": None}, {"review": "  "}])
    with pytest.raises(
        DataError, match=r"no column 'review', which the model needs\. Did you mean 'reviews'\? It has"
    ):
        single.predict([{"reviews": "good", "n": 1}])
    with pytest.raises(DataError, match="text 0 is 3, a int; a string is needed"):
        single.predict([3])
    for given, said in (
        (3, "not a int"), (None, "not a NoneType"),
        ([b"good"], "a bytes; a string is needed"), ([np.zeros(3)], "expects texts, not arrays"),
        ([("a", "b", "c")], "a tuple"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said):
            single.predict(given)
    close(single.predict({"review": ["good film 3"]}), single.predict(["good film 3"]))
    close([single.predict("good film")], single.predict(["good film"]))
    with pytest.raises(
        DataError, match=r"file 'reviws.csv' not found\. If this is a text, pass it in a list"
    ):
        single.predict("reviws.csv")
    assert single.predict(["reviws.csv"])[0].label
    with pytest.raises(ConfigError, match=r"predict has no setting 'pair'\. Did you mean 'pairs'\?"):
        single.predict(["good"], pair=["bad"])


def test_one_text_instead_of_two_is_refused_everywhere(pairs, tmp_path):
    said = "this model needs two texts ('premise', 'claim'), but only one is given"
    for call in (
        lambda: pairs.predict(["it is 3"]),
        lambda: pairs.explain("it is 3"),
        lambda: pairs.attention("it is 3"),
    ):
        with pytest.raises(DataError) as caught:
            call()
        assert said in str(caught.value)
    out = pairs.export(tmp_path / "out")
    assert said in command("predict", out, "it is 3", code=2).stderr
    status, answer = ask(pairs, {"texts": ["it is 3"]})
    assert status == 422 and said in answer["error"]
    wanted = pairs.predict(["it is 3"], ["so 3"])
    close(pairs.predict([("it is 3", "so 3")]), wanted)
    close(pairs.predict([{"claim": "so 3", "premise": "it is 3"}]), wanted)
    assert command("predict", out, "it is 3", "--pair", "so 3").stdout == f"{wanted[0]}\tit is 3\n"
    (tmp_path / "a.csv").write_text("claim,premise\nso 3,it is 3\n")
    assert f",{wanted[0].label}," in command("predict", out, "--file", tmp_path / "a.csv").stdout
    for body in (
        {"texts": ["it is 3"], "pairs": ["so 3"]},
        {"records": [{"claim": "so 3", "premise": "it is 3"}]},
    ):
        status, answer = ask(pairs, body)
        assert status == 200 and answer["predictions"][0]["probability"] == pytest.approx(
            wanted[0].probability, abs=1e-5
        )
    pairs.explain("it is 3", "so 3", points=2)


def test_two_texts_instead_of_one_are_refused_everywhere(single, tmp_path):
    said = "this model needs one text ('review'), but two are given"
    for call in (
        lambda: single.predict(["a"], ["b"]),
        lambda: single.predict([("a", "b")]),
        lambda: single.explain("a", "b"),
    ):
        with pytest.raises(DataError) as caught:
            call()
        assert said in str(caught.value)
    assert said in command("predict", single.export(tmp_path / "out"), "a", "--pair", "b", code=2).stderr
    status, answer = ask(single, {"texts": ["a"], "pairs": ["b"]})
    assert status == 422 and said in answer["error"]


def test_several_labels_are_written_so_that_they_can_be_read(tags, tmp_path):
    out = tags.export(tmp_path / "out")
    (tmp_path / "a.txt").write_text("old tree\nnew tree\n")
    wanted = tags.predict(["old tree", "new tree"])
    command("predict", out, "--file", tmp_path / "a.txt", "--out", tmp_path / "a.jsonl")
    found = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert [one["predicted"] for one in found] == [list(one.labels) for one in wanted]
    assert set(found[0]["probability"]) == {"a, b", "c"}
    told = tags.predictor.told(np.array([0.9, 0.8], np.float32))
    assert told.label.split("; ") == ["a, b", "c"] and told.cells()["predicted"] == "a, b; c"


# --- features -------------------------------------------------------------------------------------------------------


def test_tables_of_features_are_answered_in_the_unit_of_the_target(table, tmp_path):
    records = [{"size": "small", "x": 4, "more": "?"}, {"size": "large", "x": None, "more": "!"}]
    wanted = [float(one) for one in table.predict(records)]
    assert all(900 < value < 1200 for value in wanted)
    frame = pd.DataFrame(records)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for given in (tmp_path / "a.csv", str(tmp_path / "a.parquet"), frame):
        assert [float(one) for one in table.predict(given)] == pytest.approx(wanted)
    out = table.export(tmp_path / "out")
    command("predict", out, "--file", tmp_path / "a.csv", "--out", tmp_path / "answers.csv")
    command("predict", out, "--file", tmp_path / "a.csv", "--out", tmp_path / "answers.jsonl")
    assert pd.read_csv(tmp_path / "answers.csv")["predicted price"].tolist() == pytest.approx(
        wanted, rel=1e-6
    )
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text("utf-8").splitlines()]
    assert [line["predicted price"] for line in lines] == pytest.approx(wanted) and lines[0]["more"] == "?"
    for body in ({"records": records}, {"inputs": records}):
        status, answer = ask(table, body)
        assert status == 200 and [one["value"]["price"] for one in answer["predictions"]] == pytest.approx(
            wanted
        )
    status, answer = ask(table, {"records": [{"size": "small"}]})
    assert status == 422 and "no column 'x'" in answer["error"]
    assert "labkit predict RUN --file" in command("predict", out, "4", code=2).stderr
    with pytest.raises(DataError, match="this model expects features; it does not accept second texts"):
        table.predict(records, ["a", "b"])
    explained = table.explain(records[0], points=2)
    assert explained.whole == pytest.approx(wanted[0], rel=1e-5)


def test_an_explanation_of_a_table_has_the_names_and_the_cells(table):
    record = {"size": "large", "x": 7}
    found = table.explain(record)
    assert [cell.column for cell in found.cells] == ["size", "x"] or [
        cell.column for cell in found.cells
    ] == ["x", "size"]
    shown = found.table().set_index("part")
    assert shown["cell"].to_dict() == {"size": "large", "x": "7"} and found.number
    per_feature = dict(zip(table.predictor.processor.standard.names, found.values, strict=True))
    assert shown["value"]["size"] == pytest.approx(per_feature["size=large"] + per_feature["size=small"])
    # in units of the target: the effects lead from the average row to the prediction
    assert found.empty + shown["value"].sum() == pytest.approx(float(table.predict([record])[0]), rel=1e-4)
    assert "x=7" in repr(found)


def test_rows_that_cannot_be_read_are_left_without_an_answer_and_named(
    table, single, pictures, pets, tmp_path
):
    records = [
        {"x": 1, "size": "small"},
        {"x": "many", "size": "small"},
        {"x": 3, "size": "huge"},
        {"x": 4, "size": "large"},
    ]
    (tmp_path / "a.csv").write_text("x,size\n" + "".join(f"{r['x']},{r['size']}\n" for r in records))
    with pytest.raises(DataError, match="'many' in row 1"):
        write_answers(table.predictor, tmp_path / "a.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    seen: list[Any] = []
    said = write_answers(table.predictor, tmp_path / "a.csv", tmp_path / "out.csv", on_bad="skip", size=3,
                         progress=lambda *done: seen.append(done))  # fmt: skip
    assert said.rows == 4 and list(said.problems) == [1, 2] and seen == [(3, 4), (4, 4)]
    assert (
        "'many' is not a number" in said.problems[1]
        and "'huge' is not one of its categories" in said.problems[2]
    )
    out = pd.read_csv(tmp_path / "out.csv")
    wanted = [float(one) for one in table.predict([records[0], records[3]])]
    assert out["predicted price"].dropna().tolist() == pytest.approx(wanted, rel=1e-6)
    assert out["problem"].notna().tolist() == [False, True, True, False]
    pd.DataFrame({"review": ["good film 1", " ", "bad film 2", None]}).to_parquet(tmp_path / "t.parquet")
    said = write_answers(
        single.predictor, tmp_path / "t.parquet", tmp_path / "t.xlsx", on_bad="skip", unsure_below=1.0
    )
    assert (
        list(said.problems) == [1, 3]
        and "no text in column 'review'" in said.problems[1]
        and said.unsure == 2
    )
    for broken in ("text\ngood\n", "id\n1\n"):  # no row can be read: that is an error of the file
        (tmp_path / "b.csv").write_text(broken)
        if "id" in broken:
            with pytest.raises(DataError, match="has no column 'review'"):
                write_answers(single.predictor, tmp_path / "b.csv", tmp_path / "b_out.csv", on_bad="skip")
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "good.png").write_bytes((pets / "dark" / "0.png").read_bytes())
    (tmp_path / "pets" / "bad.png").write_bytes(b"no picture")
    said = write_answers(pictures.predictor, tmp_path / "pets", tmp_path / "pets.csv", on_bad="skip")
    assert list(said.problems) == [0] and "bad.png" in said.problems[0]


def test_the_same_kind_of_file_comes_back_with_the_answers(single, tmp_path):
    frame = pd.DataFrame({"review": ["good film 3", "=1+1 bad film"], "n": [1, 2]})
    predictor = single.predictor
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    wanted = predictor.predict(frame["review"].tolist(), unsure_below=0.999)
    for source, name in (
        ("a.csv", "csv"),
        ("a.csv", "xlsx"),
        ("a.parquet", "parquet"),
        ("out.xlsx", "2.xlsx"),
    ):
        out = tmp_path / f"out.{name}"
        said = write_answers(predictor, tmp_path / source, out, unsure_below=0.999)
        back = pd.DataFrame(read_table(out).table.to_pydict())
        assert back["predicted"].tolist() == [one.label for one in wanted] and said.rows == said.unsure == 2
        assert back["confidence"].astype(float).tolist() == pytest.approx(
            [one.confidence for one in wanted], abs=1e-6
        )
        assert back["unsure"].tolist() == ["unsure"] * 2 and back["n"].astype(int).tolist() == [1, 2]
    import openpyxl

    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx").active
    assert sheet["A3"].value == "=1+1 bad film" and sheet["A3"].data_type == "s"  # a text, no formula


def test_a_threshold_marks_what_is_unsure(single, table):
    (one,) = single.predict(["good film 3"])
    assert one.unsure is None and "unsure" not in one.cells()
    for least, unsure in ((one.confidence - 0.01, False), (one.confidence + 0.01, True)):
        found = single.predict("good film 3", unsure_below=least)
        assert (
            found.unsure is unsure
            and found.record()["unsure"] is unsure
            and str(found).endswith("unsure") is unsure
        )
    for wrong in (1.5, -1, True, "0.5"):
        with pytest.raises(ConfigError, match="must be a number from 0 to 1"):
            single.predict(["x"], unsure_below=wrong)
    with pytest.raises(ConfigError, match="a predicted number has no confidence"):
        table.predict([{"x": 1, "size": "small"}], unsure_below=0.5)


def test_a_row_without_a_text_is_refused_and_an_empty_text_in_a_list_is_an_input(single):
    with pytest.raises(DataError, match="1 of 2 rows have no text in column 'text': rows 1"):
        single.predict([{"text": "good"}, {"text": " \n"}])
    assert single.predict([""])[0].label in single.predictor.classes


# --- pictures -------------------------------------------------------------------------------------------------------


def test_pictures_are_answered_as_files_arrays_and_from_the_command_line(pictures, pets, tmp_path):
    rows = lk.load(pets, size=8)["train"]
    files = [pets / rows["file"][place] for place in (0, 33)]
    arrays = np.stack([np.asarray(rows[place]["image"], np.uint8) for place in (0, 33)])
    wanted = pictures.predict(arrays)
    buffer = BytesIO()
    Image.open(files[0]).save(buffer, "PNG")
    for given in (files, [str(file) for file in files], [buffer.getvalue(), Image.open(files[1])], arrays.astype(int),
                  arrays / 255, arrays.astype(np.float32), arrays.tolist()):  # fmt: skip
        close(pictures.predict(given), wanted)
    folder = tmp_path / "new"
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number}.png").write_bytes(file.read_bytes())
    (folder / "._0.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "list.csv").write_text("id,photo\n7,0.png\n8,1.png\n")
    close(pictures.predict(folder), wanted)
    close(pictures.predict(str(folder / "list.csv")), wanted)
    close(pictures.predict([{"photo": folder / "0.png"}, {"photo": str(folder / "1.png")}]), wanted)
    out = pictures.export(tmp_path / "out")
    labels = [one.label for one in wanted]
    lines = command("predict", out, folder / "0.png", folder / "1.png").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == labels and lines[0].endswith("0.png")
    assert [line.split("\t")[0] for line in command("predict", out, folder).stdout.splitlines()] == labels
    for source in (folder, folder / "list.csv"):
        command("predict", out, "--file", source, "--out", tmp_path / "a.csv")
        assert pd.read_csv(tmp_path / "a.csv")["predicted"].tolist() == labels
    assert pd.read_csv(tmp_path / "a.csv")["id"].tolist() == [7, 8]
    pictures.explain(files[0], method="gradient")
    status, answer = ask(pictures, {"inputs": arrays.tolist()})
    assert status == 200 and [one["label"] for one in answer["predictions"]] == labels


def test_sounds_are_answered_as_files_arrays_and_from_the_command_line(lab, tmp_path):
    for place, name in enumerate(("high", "low")):
        (tmp_path / "tones" / name).mkdir(parents=True)
        for number in range(12):
            wave = np.sin(np.arange(1600) * (0.3 if place else 1.2) + number)
            wavfile.write(
                tmp_path / "tones" / name / f"{number}.wav", 8000, np.rint(wave * 20_000).astype(np.int16)
            )
    rows = lk.load(tmp_path / "tones", seconds=0.2, rate=8000)
    run = fitted(lab, rows, lk.models["cnn"](preset="small", widths=(4,)), accept_leakage=True)
    files = [tmp_path / "tones" / "high" / "0.wav", tmp_path / "tones" / "low" / "3.wav"]
    wanted = run.predict(files)
    close(run.predict([str(file) for file in files]), wanted)
    close(run.predict([wavfile.read(file)[1] for file in files]), wanted)
    (tmp_path / "list.csv").write_text(
        "".join(["clip\n", *(f"tones/{f.parent.name}/{f.name}\n" for f in files)])
    )
    close(run.predict(tmp_path / "list.csv"), wanted)
    out = run.export(tmp_path / "out")
    assert len(command("predict", out, tmp_path / "tones").stdout.splitlines()) == 24
    lines = command("predict", out, "--file", tmp_path / "list.csv", "--column", "clip").stdout.splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == [one.label for one in wanted]
    # what is longer than the model reads is said, by every way in
    assert wanted.notes == () and wanted.truncated == 0
    long = tmp_path / "long" / "long.wav"
    long.parent.mkdir()
    wavfile.write(long, 8000, np.tile(wavfile.read(files[0])[1], 2))
    found, said = (
        run.predict([files[0], long]),
        "1 of {} sounds are longer than the 0.20 s that the model reads",
    )
    close(found, [wanted[0]] * 2)
    assert (
        found.truncated == 1 and found.notes[0].startswith(said.format(2)) and found.notes[0] in repr(found)
    )
    assert said.format(1) in command("predict", out, long.parent).stderr
    (tmp_path / "list.csv").write_text(f"clip\n{files[0]}\n{long}\n{files[1]}\n")
    assert said.format(3) in command("predict", out, "--file", tmp_path / "list.csv").stderr
    (tmp_path / "x.wav").write_bytes(b"no sound")
    with pytest.raises(
        DataError, match=r"'x\.wav' cannot be read: .*; the model expects sound files or arrays"
    ):
        run.predict([tmp_path / "x.wav"])


def test_what_is_no_picture_is_refused_by_name(pictures, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"'x\.png' cannot be read: not a complete image"):
        pictures.predict([tmp_path / "x.png"])
    with pytest.raises(DataError, match="image 'a text' not found; the model expects image files"):
        pictures.predict(["a text"])
    with pytest.raises(DataError, match="image 1 is missing"):
        pictures.predict([Image.new("RGB", (8, 8)), None])
    with pytest.raises(DataError, match="values from 0 to 1000"):
        pictures.predict(np.linspace(0, 1000, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3))
    with pytest.raises(DataError, match="missing or infinite"):
        pictures.predict(np.full((1, 8, 8, 3), np.nan))
    with pytest.raises(DataError, match="name the column that contains the file names"):
        pictures.predict([{"a": "x", "b": "y"}])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains no file that the model can read"):
        pictures.predict(tmp_path / "empty")


def test_a_request_names_no_file_of_the_server(pictures, pets):
    file = str(pets / "dark" / "0.png")
    for body in ({"texts": [file]}, {"records": [{"file": file}]}, {"inputs": [{"file": file}]}):
        status, answer = ask(pictures, body)
        assert status == 422 and "this model reads numbers" in answer["error"]


@pytest.mark.parametrize(
    ("trained", "given", "read"),
    [
        (np.array([0, 255], np.uint8), np.array([0, 128], np.int64), np.array([0, 128], np.uint8)),
        (np.array([0, 255], np.uint8), np.array([0.0, 128.0]), np.array([0, 128], np.uint8)),
        (np.array([0, 255], np.uint8), np.array([0.0, 0.5]), np.array([0.0, 0.5], np.float32)),
        (np.array([0, 16], np.uint8), np.array([0.0, 8.0]), np.array([0, 8], np.uint8)),
        (np.array([0, 16], np.uint8), np.array([0.0, 1.0]), np.array([0.0, 16 / 255], np.float32)),
        (np.array([0.0, 1.0], np.float32), np.array([0, 128], np.uint8), np.array([0, 128], np.uint8)),
        (np.array([0.0, 1.0], np.float32), np.array([0, 128], np.int64), np.array([0, 128], np.uint8)),
        (np.array([0.0, 1.0], np.float32), np.array([0.0, 0.5]), np.array([0.0, 0.5], np.float32)),
        (
            np.array([0.0, 255.0], np.float32),
            np.array([0, 128], np.uint8),
            np.array([0.0, 128.0], np.float32),
        ),
        (np.array([-2.0, 2.0], np.float32), np.array([-1.0, 1.0]), np.array([-1.0, 1.0], np.float32)),
    ],
)
def test_arrays_are_brought_to_the_unit_of_the_training_pictures(trained, given, read):
    found = Pixels.fit(trained).of_array(given)
    assert found.dtype == read.dtype
    np.testing.assert_allclose(found, read, rtol=1e-6)


@pytest.mark.parametrize(
    ("trained", "given", "shares"),
    [
        (np.array([0, 255], np.uint8), np.array([0, 51], np.uint8), [0, 51 / 255]),
        (np.array([0, 17], np.uint8), np.array([0, 17], np.uint8), [0, 17 / 255]),
        (np.array([0, 16], np.uint8), np.array([0, 4, 16], np.uint8), [0, 64 / 255, 1]),
        (np.array([0, 16], np.uint8), np.array([8 / 255, 16 / 255], np.float32), [0.5, 1]),
        (np.array([0, 15], np.uint8), np.array([0, 30], np.uint8), [0, 2]),
        (np.array([0, 1], np.uint8), np.array([0, 1], np.uint8), [0, 1]),
        (np.array([0.0, 16.0], np.float32), np.array([0.0, 8.0], np.float32), [0, 8]),
    ],
)
def test_few_grey_levels_are_read_over_the_whole_range(trained, given, shares):
    read = Pixels.fit(trained).to_model(given)
    np.testing.assert_allclose(read / 255 if read.dtype == np.uint8 else read, shares, rtol=1e-6)


def test_models_trained_before_few_grey_levels_were_stretched_read_them_as_then():
    given = np.array([0, 16], np.uint8)
    assert Pixels.from_dict({"whole": True, "peak": 16.0}).to_model(given) is given


# --- other models, and the endpoint ----------------------------------------------------------------------------------


def test_a_model_without_classes_names_the_right_function(lab, tmp_path):
    rows = lk.load([{"text": f"line {i % 5} of many lines that follow ."} for i in range(200)], label=False)
    run = fitted(lab, rows, task="pretrain", accept_leakage=True, next_sentence=False)
    with pytest.raises(
        WeightsError, match=r"was trained for 'pretrain', which has no predict\. Use run\.fill\(text\)"
    ):
        lk.Predictor(run.info.folder / "model")
    assert "Use run.fill(text)" in command("predict", run.export(tmp_path / "out"), "line", code=2).stderr


def test_an_endpoint_knows_further_names_and_limits(single):
    with Endpoint(
        single.predictor, hosts=("models.example.org",), characters=20, examples=2, rate=1000
    ) as endpoint:
        for host, wanted in (
            ("models.example.org", 200),
            ("Models.Example.org:8443", 200),
            ("evil.example", 421),
        ):
            status, answer = request(endpoint, {"texts": ["good"]}, Host=host)
            assert status == wanted and (status == 200 or "--host-name" in answer["error"])
        for body, said in (
            ({"texts": ["good", "x" * 21]}, '"texts"[1] has 21 characters; every text may have at most 20'),
            ({"texts": ["good", None]}, '"texts"[1] is null'),
            ({"texts": ["good"] * 3}, "a list of 1 to 2 examples"),
            ({"records": [{"review": None}]}, "1 of 1 rows have no text in column 'review'"),
            ({"records": [{"review": "x" * 21}]}, "has 21 characters"),
            ({"records": [{"other": "x"}]}, "no column 'review'"),
            ({"records": ["x"]}, '"records"[0] must be an object'),
            ({"records": [{"review": ["x"]}]}, "a column has one value"),
            ({"inputs": [[1.0]]}, "this model expects texts, not arrays"),
        ):
            status, answer = request(endpoint, body)
            assert status == 422 and said in answer["error"], answer
        status, answer = request(endpoint, {"records": [{"review": "good", "n": None}]})
        assert status == 200 and answer["predictions"][0]["label"] == single.predict(["good"])[0].label
    with Endpoint(single.predictor, characters=2_000_000, rate=1000) as endpoint:
        assert request(endpoint, {"texts": ["good " * 300_000]})[0] == 200
    with pytest.raises(ConfigError, match="examples = 0"):
        Endpoint(single.predictor, examples=0)
    with pytest.raises(ConfigError, match=r"serve has no setting 'host_names'\. Did you mean 'hosts'\?"):
        lk.serve(single, host_names=("a",))
