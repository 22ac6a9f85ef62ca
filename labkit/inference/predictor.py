"""Predictor: a trained model on disk with the cleaning, tokenization and weights of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from labkit.core.config import known_settings
from labkit.core.errors import ConfigError, DataError, WeightsError
from labkit.core.registry import ByClass
from labkit.core.text import visible
from labkit.data.model_input import (
    check_no_file,
    columns_of,
    is_missing,
    is_place,
    is_row,
    paths_in,
    records_of,
    table_of,
    texts_in,
    texts_of,
)
from labkit.data.new_rows import problem_of
from labkit.explain.attribution import Explainer
from labkit.explain.explanation import AttentionWeights, Explanation
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline
from labkit.inference.pretrained import open_classifier
from labkit.models.base import Capability
from labkit.tasks import tasks
from labkit.tasks.asr import SpeechRecognition
from labkit.tasks.base import ProblemType
from labkit.tasks.embed import Embed
from labkit.tasks.forecast import Forecast
from labkit.tasks.generate_images import GenerateImages
from labkit.tasks.instruct import Instruct
from labkit.tasks.lm import LanguageModel
from labkit.tasks.pretrain import Pretrain
from labkit.tasks.qa import QuestionAnswering
from labkit.tasks.recommend import Recommend
from labkit.tasks.segment import Segment
from labkit.tasks.seq2seq import Seq2Seq
from labkit.tasks.tag import TokenClassification
from labkit.train.processors import FeatureProcessor, ImageProcessor, TextProcessor

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Prediction:
    """The answer for one example: the likeliest class, its probability, and the probability of every class.

    Of several labels at once (:attr:`labels`) ``label`` names those that apply, and ``confidence`` is the
    probability that all of this is right, the labels taken to be independent. ``unsure`` says whether that is
    below the threshold ``unsure_below``; None without one.
    """

    label: str
    confidence: float
    probability: dict[str, float]
    labels: tuple[str, ...] = ()  # those that apply, of a multi-label model
    unsure: bool | None = None

    def cells(self) -> dict[str, str]:
        """The answer as cells of a table, by their columns."""
        unsure = {} if self.unsure is None else {"unsure": "unsure" if self.unsure else ""}
        chances = {f"probability {name}": f"{chance:.6f}" for name, chance in self.probability.items()}
        return {"predicted": self.label, "confidence": f"{self.confidence:.6f}", **unsure, **chances}

    def record(self, several: bool = False) -> dict[str, Any]:
        """The answer as values of JSON; ``several``: of a multi-label model, whose labels come as a list."""
        found = {"predicted": list(self.labels) if several else self.label, "confidence": self.confidence}
        unsure = {} if self.unsure is None else {"unsure": self.unsure}
        return {**found, **unsure, "probability": self.probability}

    def __str__(self) -> str:
        return f"{visible(self.label)}\t{self.confidence:.4f}" + "\tunsure" * bool(self.unsure)


@dataclass(frozen=True)
class NumericPrediction:
    """The answer of a regression for one example: each number under its name, and how many of its digits are
    known."""

    value: dict[str, float]
    digits: int = 7

    def __float__(self) -> float:
        """The number, where there is one."""
        (number,) = self.value.values()
        return number

    def cells(self) -> dict[str, str]:
        """The answer as cells of a table, by their columns."""
        return {f"predicted {name}": f"{number:.{self.digits}g}" for name, number in self.value.items()}

    def record(self, several: bool = False) -> dict[str, Any]:
        """The answer as values of JSON."""
        return {f"predicted {name}": number for name, number in self.value.items()}

    def __str__(self) -> str:
        return "\t".join(f"{visible(name)} {number:.{self.digits}g}" for name, number in self.value.items())


@dataclass(frozen=True)
class NoPrediction:
    """A row of a file that the model cannot read, and why."""

    problem: str

    def cells(self) -> dict[str, str]:
        """The answer as cells of a table, by their columns."""
        return {"problem": str(self.problem)}

    def record(self, several: bool = False) -> dict[str, Any]:
        """The answer as values of JSON."""
        return {"predicted": None, "problem": str(self.problem)}


class Predictions(list[Prediction | NumericPrediction]):
    """Predictions, one for each example.

    ``truncated``: examples that were longer than the model reads; ``notes``: sentences such as that there are
    some.
    """

    def __init__(
        self,
        found: Iterable[Prediction | NumericPrediction] = (),
        truncated: int = 0,
        notes: tuple[str, ...] = (),
    ):
        super().__init__(found)
        self.truncated, self.notes = truncated, notes

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *self.notes])


#: Kind of examples → their name.
NOUNS = {"image": _("pictures"), "audio": _("sounds"), "features": _("features")}
#: Task without classes → how its models are used.
USED_BY: ByClass[str] = ByClass(
    {
        Instruct: "run.chat(messages), or lk.ChatPipeline(folder)",
        LanguageModel: "run.generate(prompts), or lk.TextGenerationPipeline(folder)",
        Pretrain: "run.fill(text), or lk.FillMaskPipeline(folder)",
        QuestionAnswering: "run.answer(questions, paragraphs), or lk.QuestionAnsweringPipeline(folder)",
        TokenClassification: "run.tag(sentences), or lk.TokenClassificationPipeline(folder)",
        Embed: "run.embed(texts), or lk.EmbeddingPipeline(folder)",
        Seq2Seq: "run.translate(texts), or lk.TranslationPipeline(folder)",
        GenerateImages: "run.generate_images(), or lk.ImageGenerationPipeline(folder)",
        Segment: "run.segment(pictures), or lk.SegmentationPipeline(folder)",
        Recommend: "run.recommend(items), or lk.RecommendPipeline(folder)",
        SpeechRecognition: "run.transcribe(sounds), or lk.SpeechRecognitionPipeline(folder)",
        Forecast: "run.forecast(table), or lk.ForecastPipeline(folder)",
    }
)


class Predictor(Pipeline):
    """A model of classes, labels or numbers that a run has written or exported, or pretrained weights of a
    classifier of transformers (``BertForSequenceClassification``, of RoBERTa, DistilBERT …)."""

    pretrained = Capability.BIDIRECTIONAL

    def __init__(
        self, source: str | Path, device: jax.Device | None = None, plugins: Sequence[str] = (), dtype: str = "auto"
    ):  # fmt: skip
        super().__init__(source, device, plugins, dtype)
        self.folder, self.classes = Path(source), self.head.classes
        self.problem_type = self.experiment.task.problem_type
        marks = (
            ", ",
            "; ",
            " | ",
            "\t",
        )  # one that no label holds, so that a cell of several can be cut again
        self._separator = next(
            (mark for mark in marks if not any(mark.strip() in name for name in self.classes)), "\n"
        )
        self.explainer = Explainer(self.model, self.classes, self.processor, self.problem_type, self._offset)
        self._answer = self.compiled(self.head.predict)

    def __repr__(self) -> str:
        return f"<predictor: {visible(', '.join(self.classes))}>"

    def _check(self, folder: str) -> None:
        if self.experiment.task.problem_type is None:
            learnt = tasks.name_of(self.experiment.task)
            raise WeightsError(
                _("{folder!r} was trained for {learnt!r}, which has no predict. Use {used_by}."),
                folder=folder, learnt=learnt,
                used_by=USED_BY.get(type(self.experiment.task)) or "run.evaluate()",
            )  # fmt: skip

    def _load_weights(self, name: str) -> Any:
        """A classifier with its head; sets its experiment, head, processor and tokenizer."""
        self.experiment, module, self.head, self.processor = open_classifier(name, self._precise)
        self.tokenizer, self.max_length = self.processor.tokenizer, self.processor.max_length
        return self._used(module)

    def _used(self, module: Any) -> Any:
        self._offset = self.head.bias
        if self._offset is not None:  # added in float64, as float32 would round the sum
            module.head.bias = nnx.Param(jax.numpy.zeros_like(module.head.bias[...]))
        return module

    @property
    def columns(self) -> tuple[str, ...]:
        """Source columns of the texts that the model was trained on: one, or two of pairs; none if not known."""
        return self.experiment.data.columns if self.processor.modality == "text" else ()

    @known_settings
    def predict(
        self,
        examples: object,
        pairs: str | Sequence[str] | None = None,
        *,
        unsure_below: float | None = None,
    ) -> Any:
        """Predictions for new examples: a list with a :class:`Prediction` or :class:`NumericPrediction` each;
        for a single text its prediction alone. The ``notes`` of the list say where examples were longer than
        the model reads.

        Args:
            examples: texts, or one; pictures (files, or an array [n, height, width (, channels)]); sounds
                (files, or arrays [samples] at the model's rate); features (an array [n, f]); or a table with
                the columns that the model was trained on: a list of dicts, a dict of one row or of columns, a
                pandas or polars frame, a data set, an Arrow table, a DuckDB result, or the path of a file
                that :func:`labkit.load` reads. Pictures and sounds also as the path of a folder of them, or
                of a table that names them.
            pairs: the second texts, for a model of pairs.
            unsure_below: confidence below which ``unsure`` of a prediction is True, from 0 to 1.

        Raises:
            ConfigError: ``unsure_below`` for a model of numbers, or out of range.
            DataError: they are not what the model reads: one text instead of two, a missing value, an empty
                text, another shape.
        """
        if isinstance(examples, str) and self.processor.modality == "text" and not is_place(examples):
            check_no_file(examples)
            pairs = [pairs] if isinstance(pairs, str) else pairs
            return self.predictions([examples], pairs, unsure_below=unsure_below)[0]
        return self.predictions(examples, pairs, unsure_below=unsure_below)

    __call__ = predict

    def predictions(
        self,
        examples: object,
        pairs: Sequence[str] | None = None,
        *,
        clean: bool = True,
        unsure_below: float | None = None,
    ) -> Predictions:
        """As :meth:`predict`, always a list; ``clean=False`` for texts that were cleaned before."""
        self._check_threshold(unsure_below)
        found, truncated = self._probabilities(examples, pairs, clean)
        notes = (self.processor.truncation_note(truncated, len(found)),) if truncated else ()
        return Predictions((self.told(row, unsure_below) for row in found), truncated, notes)

    def _check_threshold(self, unsure_below: float | None) -> None:
        if unsure_below is None:
            return
        if self.problem_type is ProblemType.NUMBER:
            raise ConfigError(
                _(
                    "a predicted number has no confidence; unsure_below is for classes and labels. Leave it out."
                )
            )
        if (
            isinstance(unsure_below, bool)
            or not isinstance(unsure_below, int | float)
            or not 0 <= unsure_below <= 1
        ):
            raise ConfigError(
                _("unsure_below = {unsure_below!r}; it must be a number from 0 to 1."),
                unsure_below=unsure_below,
            )

    @staticmethod
    def values_of(answer: Prediction | NumericPrediction) -> dict[str, Any]:
        """An answer as values of JSON, as the HTTP endpoint sends them."""
        return asdict(answer)

    def answer_columns(self, unsure_below: float | None = None) -> tuple[str, ...]:
        """The columns that predictions add to a table."""
        return tuple(self.told(np.zeros(len(self.classes)), unsure_below).cells())

    def answered(
        self,
        source: str | Path,
        *,
        column: str | None = None,
        pair: str | None = None,
        size: int = 1024,
        unsure_below: float | None = None,
        on_bad: str = "stop",
        note: Callable[[str], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
        **file: object,
    ) -> Iterator[tuple[dict[str, Any], Prediction | NumericPrediction | NoPrediction]]:
        """Every row of a file or folder with its prediction; read as :func:`labkit.load` reads it.

        Args:
            source: a table; of pictures and sounds also a folder, one of them, or a table that names them.
            column: column of the text or the file names; default: that of the training rows.
            pair: column of the second text.
            size: rows that are predicted at a time.
            unsure_below: see :meth:`predict`.
            on_bad: "stop" at a row that the model cannot read, or "skip" it: its answer is then a
                :class:`NoPrediction`.
            note: called after the last row where there is something to know, such as that texts were
            truncated.
            progress: called with the rows done and the rows in all.
            file: ``names``, ``delimiter``, ``encoding``, ``quotes`` of a file.

        Raises:
            DataError: the file cannot be read, or a row (with ``on_bad="skip"`` no row) is what the model reads.
        """
        self._check_threshold(unsure_below)
        kind = self.processor.modality
        table, folder = table_of(source, kind, **file)
        chosen = self._chosen(table.column_names, column, pair) if kind == "text" else []
        if kind == "features" and (column or pair):
            raise ConfigError(_("this model uses feature columns by name; remove --column and --pair."))

        def predicted(records: list[dict[str, Any]]) -> Predictions:
            if kind == "text":
                given: list[Any] = [texts_in(records, name) for name in chosen]
            elif kind == "features":
                given = [records]
            else:
                given = [paths_in(records, column, kind, folder)]
            return self.predictions(*given, unsure_below=unsure_below)

        truncated = answers = 0
        for start in range(0, len(table), size):
            records = table.slice(start, size).to_pylist()
            try:
                found: Any = predicted(records)
                truncated += found.truncated
            except DataError:
                if on_bad == "stop":
                    raise
                found, cut = self._readable(records, predicted, chosen)
                truncated += cut
                if not answers and all(isinstance(each, NoPrediction) for each in found):
                    raise  # such as a missing column
            answers += len(found)
            if progress is not None:
                progress(start + len(records), len(table))
            yield from zip(records, found, strict=True)
        if truncated and note is not None:
            note(self.processor.truncation_note(truncated, len(table)))

    def _readable(
        self, records: list[dict[str, Any]], predicted: Callable[[Any], Predictions], chosen: Sequence[str]
    ) -> tuple[list[Any], int]:
        """The answers to rows of which some cannot be read, found by halving; and how many were truncated."""
        try:
            found = predicted(records)
            return list(found), found.truncated
        except DataError as error:
            if len(records) == 1:
                return [NoPrediction(self._problem(records[0], chosen) or error.message)], 0
        half = len(records) // 2
        parts = [self._readable(part, predicted, chosen) for part in (records[:half], records[half:])]
        return [each for found, _cut in parts for each in found], sum(cut for _found, cut in parts)

    def _problem(self, record: Mapping[str, Any], chosen: Sequence[str]) -> str:
        """What a row of a table lacks; "" where that is not known."""
        for name in chosen:
            if is_missing(record.get(name)) or not str(record[name]).strip():
                return _("no text in column {column!r}", column=name)
            if not self.clean(str(record[name])).strip():
                return _("cleaning leaves nothing of the text in column {column!r}", column=name)
        standard = self.processor.standard if isinstance(self.processor, FeatureProcessor) else None
        for how in standard.columns if standard else ():
            if how.name in record and (said := problem_of(how, record[how.name])):
                return _("column {column!r}: {problem}", column=how.name, problem=said)
        return ""

    def _chosen(self, names: list[str], column: str | None = None, pair: str | None = None) -> list[str]:
        """The columns of the texts in a table with these names."""
        two = pair is not None or len(self.columns) == 2
        self._check_pairs(two)
        return columns_of(names, self.columns, (column, pair) if two else (column,))

    def _check_pairs(self, given: bool) -> None:
        """Raise where a model of pairs is given single texts, or a model of single texts pairs."""
        names = ", ".join(map(repr, self.columns))
        if len(self.columns) == 2 and not given:
            raise DataError(
                _(
                    "this model needs two texts ({names}), but only one is given: use predict([first], "
                    "[second]), or --pair."),
                names=names,
            )  # fmt: skip
        if len(self.columns) == 1 and given:
            raise DataError(
                _("this model needs one text ({names}), but two are given: remove the second."), names=names
            )

    def _given(self, examples: Any, pairs: Any) -> tuple[Any, Any]:
        """Examples and second texts as :attr:`processor` reads them, before cleaning."""
        kind = self.processor.modality
        if is_row(examples):
            examples = [examples]
        if isinstance(examples, str) and not is_place(examples):
            reads = NOUNS.get(kind, _("texts"))
            raise DataError(
                _("file or folder {examples!r} not found; the model expects {reads}."),
                examples=examples[:80],
                reads=reads,
            )
        if not isinstance(examples, Iterable | Path) and not hasattr(examples, "columns"):
            raise DataError(
                _("predict expects a list of examples, an array or a table, not a {type}."),
                type=type(examples).__name__,
            )
        if kind != "text" and pairs is not None:
            raise DataError(
                _("this model expects {noun}; it does not accept second texts."), noun=NOUNS[kind]
            )
        folder = Path()
        if isinstance(examples, str | Path):
            table, folder = table_of(examples, kind)
            examples = table.to_pylist()
        if kind == "features":
            return self.processor.examples(examples), None
        records = records_of(examples)
        if kind != "text":
            return self.processor.examples(
                examples if records is None else paths_in(records, None, kind, folder)
            ), None
        if records is not None:
            if pairs is not None:
                raise DataError(_("a table contains its second texts in a column; remove the other list."))
            chosen = self._chosen(list(records[0]) if records else [])
            found = [texts_in(records, name) for name in chosen]
            return found[0], found[1] if len(found) > 1 else None
        examples = list(examples)
        if (
            pairs is None
            and examples
            and all(isinstance(each, tuple | list) and len(each) == 2 for each in examples)
        ):
            examples, pairs = map(list, zip(*examples, strict=True))
        if len(examples):
            self._check_pairs(pairs is not None)
        if any(isinstance(each, np.ndarray | list) for each in examples):
            raise DataError(_("this model expects texts, not arrays."))
        texts = texts_of(examples, _("text"))
        return texts, None if pairs is None else texts_of(pairs, _("second text"))

    def inputs(self, examples: object, pairs: Sequence[str] | None = None) -> tuple[Any, Any]:
        """Examples and second texts as :meth:`predict` takes them, read and cleaned as the model reads them."""
        examples, pairs = self._given(examples, pairs)
        if isinstance(self.processor, TextProcessor):
            examples = [self.clean(text) for text in examples]
            pairs = None if pairs is None else [self.clean(text) for text in pairs]
        return examples, pairs

    def told(self, row: np.ndarray, unsure_below: float | None = None) -> Prediction | NumericPrediction:
        """What a row of :meth:`probabilities` says, f32[c]; see :meth:`predict`."""
        named = {name: float(value) for name, value in zip(self.classes, row, strict=True)}
        if self.problem_type is ProblemType.NUMBER:
            return NumericPrediction(named, self._digits(row))
        if self.problem_type is ProblemType.CLASS:
            best = int(row.argmax())
            chance = float(row[best])
            return Prediction(self.classes[best], chance, named, (), _below(chance, unsure_below))
        given = row >= self.experiment.task.threshold
        labels = tuple(name for name, there in zip(self.classes, given, strict=True) if there)
        chance = float(np.where(given, row, 1 - row).prod())
        return Prediction(self._separator.join(labels), chance, named, labels, _below(chance, unsure_below))

    def _digits(self, row: np.ndarray) -> int:
        """The digits of numbers f64[k] that are known: the 7 of float32, and those of the offset above them."""
        if self._offset is None:
            return 7
        off = np.maximum(np.abs(row - self._offset), np.finfo(np.float64).tiny)
        above = np.log10(np.maximum(np.abs(row), off) / off)
        return 7 + int(np.clip(np.ceil(above.max()), 0, 10))

    def explain(self, example: object, pair: str | None = None, **settings: Any) -> Explanation:
        """What speaks for and against a class in a new example; see ``Explainer.explain``."""
        return self.explainer.explain(*self._one(example, pair), **settings)

    def attention(self, text: str, pair: str | None = None) -> AttentionWeights:
        """The attention over the tokens of a new text; see
        :meth:`~labkit.explain.attribution.Explainer.attention`."""
        return self.explainer.attention(*self._one(text, pair))

    def _one(self, example: object, pair: str | None) -> tuple[Any, str | None]:
        """An example as the model reads it."""
        if isinstance(self.processor, TextProcessor) and not isinstance(example, str | Mapping):
            raise DataError(
                _("this model expects texts; the example is a {type}."), type=type(example).__name__
            )
        single = np.asarray(example)[None] if isinstance(example, np.ndarray) else [example]
        examples, pairs = self._given(single, None if pair is None else [pair])
        if isinstance(self.processor, TextProcessor):
            return self.clean(examples[0]), None if pairs is None else self.clean(pairs[0])
        return examples[0], None

    def probabilities(
        self, examples: object, pairs: Sequence[str] | None = None, *, clean: bool = True
    ) -> np.ndarray:
        """Probability of every class f32[n, c], or the numbers of a regression f64[n, c]; ``clean=False`` for
        texts that were cleaned before. See :meth:`predict`."""
        return self._probabilities(examples, pairs, clean)[0]

    def _probabilities(
        self, examples: object, pairs: Sequence[str] | None, clean: bool
    ) -> tuple[np.ndarray, int]:
        """The answers, and how many examples were longer than the model reads."""
        examples, pairs = self.inputs(examples, pairs) if clean else self._given(examples, pairs)
        kind = np.float64 if self.problem_type is ProblemType.NUMBER else np.float32
        result = np.zeros((len(examples), len(self.classes)), kind)
        if not len(examples):
            return result, 0
        truncated = 0
        for start, batches in self._batches(examples, pairs):
            truncated += batches.truncated
            for index, answers in self._results(self._answer, batches):
                result[start + index] = answers
        if not (there := np.isfinite(result).all(-1)).all():
            place = int(np.argmin(there))
            raise DataError(
                _("the prediction for example {place} is not finite: is it far from the training rows?"),
                place=place,
            )
        return (result if self._offset is None else result + self._offset), truncated

    def image_vectors(self, pictures: object) -> np.ndarray:
        """The vectors that the last layer reads of pictures, f32[n, d]. See :meth:`predict` for what pictures may be.

        Raises:
            DataError: the model reads something else, or pictures cannot be read.
        """
        if not isinstance(self.processor, ImageProcessor):
            raise DataError(_("this model reads {kind}, not pictures."), kind=str(self.processor.modality))
        batches = self.processor.to_predict(self.processor.examples(pictures))
        found = list(self._results(self._image_vectors, batches))
        order = np.argsort(np.concatenate([index for index, _unused in found]))
        return np.concatenate([each for _unused, each in found])[order]

    @cached_property
    def _image_vectors(self) -> Any:
        def vectors(module: Any, batch: dict[str, Any]) -> Any:
            return module.backbone(batch["inputs"], key=None, real=batch["weight"] > 0).pooled

        return self.compiled(vectors)

    def predict_encoded(self, dataset: Dataset) -> np.ndarray:
        """Probability of every class, f32[n, c], for a split of :class:`labkit.data.rows.Rows`."""
        if not isinstance(self.processor, TextProcessor):
            return self.probabilities(self.processor.raw(dataset).inputs)
        pairs = dataset["text_pair"] if "text_pair" in dataset.column_names else None
        return self.probabilities(dataset["text"], pairs, clean=False)


def _below(chance: float, least: float | None) -> bool | None:
    """Whether a confidence is below a threshold; None without one."""
    return None if least is None else chance < least
