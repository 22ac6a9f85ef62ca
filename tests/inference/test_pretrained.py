"""Folders of classifiers, readers and masked language models that ``transformers`` wrote answer here as there
(``tests/models/golden/make.py``), and training goes on from their heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.core.errors import WeightsError

from ..models.golden.make import CLASSIFIERS, KEPT, MASKED, PAIRS, QUESTIONS, READERS, TEXTS


def answers(name: str) -> Any:
    return json.loads((KEPT / f"{name}.json").read_text())


def changed(name: str, folder: Path, **settings: Any) -> str:
    """A copy of a folder with other settings in its config.json."""
    for file in (KEPT / name).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = {**json.loads((folder / "config.json").read_text()), **settings}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_as_in_transformers(name: str) -> None:
    predictor, theirs = lk.Predictor(KEPT / name), answers(name)
    ours = [
        *predictor.predict(list(TEXTS)),
        *predictor.predict([one for one, _ in PAIRS], [two for _, two in PAIRS]),
    ]
    for own, their in zip(ours, theirs, strict=True):
        found = own.value if name.endswith("numbers") else own.probability
        assert found == pytest.approx(their, rel=1e-4, abs=1e-6)
        if name in ("bert-one", "roberta-labels"):
            assert set(own.labels) == {label for label, chance in their.items() if chance >= 0.5}
        elif not name.endswith("numbers"):
            assert own.label == max(their, key=their.get)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_answers_as_in_transformers(name: str) -> None:
    pipeline = lk.QuestionAnsweringPipeline(KEPT / name)
    for (question, paragraph), (start, end, chance) in zip(QUESTIONS, answers(name), strict=True):
        own = pipeline(question, paragraph)
        assert (own.start, own.end) == (start, end) and own.text == paragraph[start:end]
        assert own.probability == pytest.approx(chance, rel=1e-4)


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_language_model_answers_as_in_transformers(name: str) -> None:
    theirs = [(token, chance) for token, chance in answers(name) if token]  # labkit leaves special tokens out
    ours = lk.FillMaskPipeline(KEPT / name).fill("the [MASK] was great", top=len(theirs))[0]
    assert [each.token for each in ours] == [token for token, _ in theirs]
    assert [each.probability for each in ours] == pytest.approx([chance for _, chance in theirs], rel=1e-4)


@pytest.mark.parametrize(("name", "settings", "message"), (
    ("bert-masked", {}, "have no classifier"),
    ("bert-classes", {"architectures": ["BertForTokenClassification"]}, "have no classifier"),
    ("bert-classes", {"id2label": {"0": "a", "2": "b", "1": "a"}}, "two names are equal"),
    ("bert-classes", {"id2label": {"1": "a", "2": "b"}}, "expected names numbered from 0"),
    ("bert-classes", {"model_type": "deberta-v2"}, "a model of type 'deberta-v2'; supported: 'bert', "),
    ("qwen2", {}, "a model of type 'qwen2'; supported: 'bert', "),
))  # fmt: skip
def test_what_is_no_classifier_is_refused(
    name: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=message):
        lk.Predictor(changed(name, tmp_path, **settings))


def test_a_classifier_is_no_reader() -> None:
    with pytest.raises(WeightsError, match="have no head for answers"):
        lk.QuestionAnsweringPipeline(KEPT / "bert-classes")


def started(rows: Any, name: str, lab: Path, **settings: Any) -> Any:
    """A run that changes nothing: what it begins with is what it predicts with."""
    model = lk.models["bert"](weights=str(KEPT / name), dropout=0.0, attention_dropout=0.0)
    return lk.fit(
        rows, model, folder=lab, background=False, epochs=1, batch_size=8, learning_rate=1e-12, keep="last",
        head_dropout=0.0, weight_decay=0.0, **settings,
    )  # fmt: skip


def labelled(names: tuple[str, ...]) -> list[dict[str, Any]]:
    words = ("great", "dull", "what")
    kinds = [place % len(names) for place in range(30)]
    return [{"text": f"the film was {words[kind]} , {'so ' * (place // 3)}", "label": names[kind]}
            for place, kind in enumerate(kinds)]  # fmt: skip


def test_training_starts_from_the_head_of_the_same_classes(tmp_path: Path) -> None:
    run = started(labelled(("good", "so so", "bad")), "bert-classes", tmp_path)
    ours, theirs = run.predict(list(TEXTS)), answers("bert-classes")
    assert [each.probability for each in ours] == [
        pytest.approx(each, rel=1e-3) for each in theirs[: len(TEXTS)]
    ]
    assert not [text for text in run.info.summary["warnings"] if "head" in str(text)]


def test_training_on_other_classes_says_that_the_head_is_new(tmp_path: Path) -> None:
    run = started(labelled(("good", "bad")), "bert-classes", tmp_path)
    (note,) = (str(text) for text in run.info.summary["warnings"] if "head" in str(text))
    assert "predicts one class of bad, good, so so; the rows have one class of" in note
    assert not np.isclose(
        run.predict("a dull plot").probability["good"], answers("bert-classes")[1]["good"], atol=1e-3
    )
