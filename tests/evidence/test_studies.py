"""Studies of real size: film reviews over TF-IDF, a text CNN and MiniLM (head, LoRA, all weights); a table over
gradient boosting and perceptrons. Each prints its table and its choice."""

from __future__ import annotations

import pytest

import labkit as lk

pytestmark = [pytest.mark.soak, pytest.mark.samples]


def shown(study):
    print(
        f"\n{study}\n{study.table().to_string(float_format='{:.4g}'.format, na_rep='')}\nfront: {study.front()}"
    )
    table = study.table()
    finished = table[table["status"] == "finished"]
    assert (finished["gain_low"] <= finished["gain"]).all() and (
        finished["gain"] <= finished["gain_high"]
    ).all()
    assert study.choice().choice in table.index and study.choice().best == table.index[0]


def test_film_reviews_from_words_to_a_whole_encoder(tmp_path):
    rows = lk.load("movie-reviews").sample(4000, seed=0).split(validation=0.15, test=0.25, seed=0)
    minilm = lk.models["bert"](preset="minilm-l6")
    candidates = {
        "text CNN": (lk.models["textcnn"](preset="tiny"), {"epochs": 6}),
        "MiniLM head": (minilm, {"trainable": "head", "epochs": 3}),
        "MiniLM LoRA": (minilm, {"trainable": "lora", "epochs": 3}),
        "MiniLM": (minilm, {"epochs": 2}),
    }
    scenario = lk.Scenario(
        decision="Which reviews does a person read first?", positive=rows.schema.classes[0], false_positive=1,
        false_negative=5, volume=1000,
    )  # fmt: skip
    study = lk.study(
        rows, candidates, finish=4, folder=tmp_path, background=False, max_length=48, scenario=scenario
    )
    others = lk.load("movie-reviews").in_one_split()["train"]["text"]
    known = {text for part in study.rows.splits.values() for text in part["text"]}
    texts = [text for text in dict.fromkeys(others) if text not in known]
    teacher, size = study.run("MiniLM"), lk.models["textcnn"](preset="tiny")
    student = lk.distill(teacher, texts, size, epochs=6, max_length=48, background=False)
    seconds = student.info.ended - student.info.started
    study.add("text CNN, distilled", student, seconds=seconds)
    shown(study)
    print("\n".join(map(str, study.results["text CNN, distilled"].decision.sentences)))
    assert study.table().loc["MiniLM", "gain"] >= 0 or study.table().index[0] != "MiniLM"


def test_a_table_over_boosting_and_perceptrons(tmp_path):
    rows = lk.load("adult" if "adult" in lk.samples else "breast-cancer").sample(8000, seed=0)
    rows = rows.split(validation=0.15, test=0.25, seed=0)
    space = lk.Space("mlp", {"learning_rate": lk.Range(3e-4, 1e-2, log=True), "widths": [(32,), (128,), (128, 64)]},
                     samples=6, seed=1)  # fmt: skip
    study = lk.study(rows, {"mlp": space}, finish=2, folder=tmp_path, background=False, accept_leakage=True)
    shown(study)
    assert "gradient boosting" in study.table().index
