"""One base for all pipelines: by task, opened once a model, called as functions, and open for a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import labkit as lk
from labkit.inference.pipeline import Pipeline
from labkit.inference.registry import PIPELINES, pipeline_of
from labkit.tasks.classify import Classify


def test_every_task_has_a_pipeline_that_opens_its_models() -> None:
    for name in lk.tasks:
        kind = PIPELINES.get(lk.tasks[name])
        assert kind is not None and issubclass(kind, Pipeline) and issubclass(lk.tasks[name], kind.task)


def test_a_pipeline_is_called_as_a_function_and_computes_on_a_device(finished: Any, tmp_path: Path) -> None:
    folder, texts = finished.export(tmp_path / "out"), ["a fine film", "dull"]
    predictor = lk.Predictor(folder, device=jax.devices()[0])
    assert predictor(texts) == predictor.predict(texts) == finished.predict(texts)
    embedding = lk.EmbeddingPipeline(folder)
    np.testing.assert_array_equal(embedding(texts), finished.embed(texts))
    assert predictor.tokenizer.vocab_size == embedding.tokenizer.vocab_size and predictor.max_length == 32


def test_the_model_of_a_run_is_opened_once_for_all_handles(finished: Any) -> None:
    again = lk.open_run(finished.id, finished.store.folder)
    assert pipeline_of(again) is finished.predictor is again.predictor


@pytest.mark.parametrize("given", [3, [None], [3], ["a", float("nan")]])
def test_what_is_no_text_is_refused(finished: Any, given: Any) -> None:
    with pytest.raises(lk.LabkitError, match="text"):
        finished.embed(given)


def test_a_model_of_another_task_is_refused_by_every_pipeline(finished: Any) -> None:
    for kind in (
        lk.TextGenerationPipeline,
        lk.TranslationPipeline,
        lk.FillMaskPipeline,
        lk.QuestionAnsweringPipeline,
    ):
        with pytest.raises(lk.LabkitError, match=f"of the task 'classify'; {kind.__name__} opens"):
            pipeline_of(finished, kind)


def test_a_pipeline_of_ones_own_is_registered_by_the_class_of_its_task(finished: Any) -> None:
    class Lengths(Pipeline):
        task = Classify

        def __call__(self, inputs: Any, *more: Any, **settings: Any) -> list[int]:
            return [len(self.tokenizer.numbers(self.clean(text))) for text in inputs]

    before = PIPELINES.get(Classify)
    PIPELINES.register(Classify, Lengths)
    try:
        found = pipeline_of(finished)
        assert isinstance(found, Lengths) and found(["a fine film"]) == [
            len(found.tokenizer.numbers("a fine film"))
        ]
        with pytest.raises(TypeError, match="abstract"):
            Pipeline("x")  # type: ignore[abstract]
    finally:
        PIPELINES.register(Classify, before)
