"""Token classification with a trained model on disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from labkit.core.config import known_settings
from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.buckets import SortedBatches
from labkit.data.batching.tagged import tagged
from labkit.data.model_input import columns_of, table_of
from labkit.data.tags import entities
from labkit.i18n import _
from labkit.inference.pipeline import Pipeline
from labkit.inference.predictor import NoPrediction
from labkit.inference.pretrained import open_tagger
from labkit.models.base import Capability
from labkit.tasks.tag import TokenClassification
from labkit.train.processors import BATCH, WIDTHS

if TYPE_CHECKING:
    from flax import nnx

#: Words of a running text: each Chinese or Japanese character alone, letters and digits together, other marks alone.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|(?:(?![\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])\w)+"
                  r"(?:['’\-](?:(?![\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])\w)+)*|[^\w\s]")  # fmt: skip


@dataclass(frozen=True)
class EntitySpan:
    """An entity: its type, its text, the characters ``start`` … ``end`` of the sentence, and the least probability
    of its words' tags."""

    type: str
    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True)
class TaggedSentence:
    """A sentence with a tag for every word.

    Attributes:
        text: the sentence.
        words, tags, probabilities: of each word; the tag is "" and its probability 0 where the model reads nothing of
            a word: the tokenizer has no token for it, or it is beyond ``max_length``.
        spans: characters (start, end) of each word in ``text``.
    """

    text: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
    probabilities: tuple[float, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def entities(self) -> list[EntitySpan]:
        """The entities of BIO tags; none of other tags, such as parts of speech."""
        found = []
        for kind, first, end in entities(self.tags):
            start, stop = self.spans[first][0], self.spans[end - 1][1]
            least = min(self.probabilities[first:end])
            found.append(EntitySpan(kind, self.text[start:stop], start, stop, least))
        return found

    def cells(self) -> dict[str, str]:
        """The answer as cells of a table, by their columns."""
        return {"words": " ".join(self.words), "tags": " ".join(tag or "-" for tag in self.tags)}

    def record(self, several: bool = False) -> dict[str, Any]:
        """The answer as values of JSON."""
        return {
            "words": list(self.words), "tags": list(self.tags), "probabilities": list(self.probabilities),
            "entities": [asdict(each) for each in self.entities],
        }  # fmt: skip

    def __str__(self) -> str:
        return " ".join(f"{word}/{tag}" for word, tag in zip(self.words, self.tags, strict=True))


class TaggedSentences(list[TaggedSentence]):
    """Tagged sentences, one for each text; ``notes``: sentences such as that texts were truncated."""

    notes: tuple[str, ...] = ()


class TokenClassificationPipeline(Pipeline):
    """A model of the task "tag" that a run has written or exported, or pretrained weights of a
    ``…ForTokenClassification`` of transformers: it gives every word a tag."""

    task, pretrained = TokenClassification, Capability.SPANS

    def __init__(
        self, source: str | Path, device: jax.Device | None = None, plugins: Sequence[str] = (), dtype: str = "auto"
    ):  # fmt: skip
        super().__init__(source, device, plugins, dtype)

        def likeliest(module: Any, batch: dict[str, Any]) -> Any:
            chances = jax.nn.softmax(module(batch), axis=-1)
            return jnp.argmax(chances, axis=-1), jnp.max(chances, axis=-1)

        self._likeliest = self.compiled(likeliest)

    @property
    def tags(self) -> tuple[str, ...]:
        """The names of the tags."""
        return self.head.classes

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self.tags)} tags, {self.tokenizer.vocab_size} tokens>"

    def _load_weights(self, name: str) -> Any:
        """A tagger with its head; sets its experiment, head, processor and tokenizer."""
        self.experiment, module, self.head, self.processor = open_tagger(name, self._precise)
        self.tokenizer, self.max_length = self.processor.tokenizer, self.processor.max_length
        return module

    def _used(self, module: nnx.Module) -> Any:
        return module

    @known_settings
    def tag(self, sentences: str | Sequence[str] | Sequence[Sequence[str]]) -> Any:
        """The tags of sentences, a list of :class:`TaggedSentence`; for a single text it alone.

        Args:
            sentences: texts, which are divided into words and marks; or lists of words, which are tagged as they are.

        Raises:
            DataError: a sentence is no text and no list of words, a word is empty or has white space.
        """
        if isinstance(sentences, str):
            return self.tag([sentences])[0]
        read = [_read(sentence, place) for place, sentence in enumerate(sentences)]
        return self._tag(read)

    __call__ = tag

    # --- rows of tables, as :class:`labkit.Predictor` answers them ---------------------------------------------

    problem_type: ClassVar[None] = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the tags."""
        return self.tags

    @property
    def columns(self) -> tuple[str, ...]:
        """Source column of the words that the model was trained on; none if not known."""
        return self.experiment.data.columns

    def predictions(
        self, examples: Any, pairs: object = None, *, unsure_below: float | None = None
    ) -> TaggedSentences:
        """As :meth:`tag`, always a list; its ``notes`` are empty.

        Raises:
            DataError: as :meth:`tag`, or ``pairs``, for which there is no use.
            ConfigError: ``unsure_below``, for which there is none either.
        """
        if pairs is not None:
            raise DataError(_("token classification reads single texts: remove the second texts."))
        if unsure_below is not None:
            raise ConfigError(_("a tagged sentence has a probability of each word; leave unsure_below out."))
        return TaggedSentences(self.tag(list(examples)))

    @staticmethod
    def values_of(answer: TaggedSentence) -> dict[str, Any]:
        """An answer as values of JSON, as the HTTP endpoint sends them."""
        return answer.record()

    def answer_columns(self, unsure_below: float | None = None) -> tuple[str, ...]:
        """The columns that predictions add to a table."""
        return "words", "tags"

    def answered(
        self, source: str | Path, *, column: str | None = None, pair: str | None = None, size: int = 1024,
        unsure_below: float | None = None, on_bad: str = "stop", note: Callable[[str], None] | None = None,
        progress: Callable[[int, int], None] | None = None, **file: object,
    ) -> Iterator[tuple[dict[str, Any], TaggedSentence | NoPrediction]]:  # fmt: skip
        """Every row of a file with its tagged sentence; see :meth:`labkit.Predictor.answered`. A cell is a text, or a
        list of words."""
        table, _folder = table_of(source, "text", **file)
        name = columns_of(table.column_names, self.columns, (column,))[0]
        for start in range(0, len(table), size):
            records = table.slice(start, size).to_pylist()
            values = [record[name] for record in records]
            try:
                found: list[Any] = list(self.predictions(values, pair, unsure_below=unsure_below))
            except DataError:
                if on_bad == "stop":
                    raise
                found = [self._one(value) for value in values]
            if progress is not None:
                progress(start + len(records), len(table))
            yield from zip(records, found, strict=True)

    def _one(self, value: object) -> TaggedSentence | NoPrediction:
        """A sentence, or why it cannot be tagged."""
        try:
            return self.predictions([value])[0]
        except DataError as error:
            return NoPrediction(error.message)

    def _tag(self, read: list[tuple[str, list[str], list[tuple[int, int]]]]) -> list[TaggedSentence]:
        if not read:
            return []
        words = [[self.clean(word) for word in each] for _text, each, _spans in read]
        for sentence, (_text, before, _spans) in zip(words, read, strict=True):
            if lost := [one for one, word in zip(before, sentence, strict=True) if not word or " " in word]:
                raise DataError(_("cleaning leaves no single word of {word!r}."), word=lost[0])
        tokens = self.tokenizer.encode([" ".join(each) for each in words], None, self.max_length)
        made = tagged(tokens, words, self.tokenizer)
        buckets = (*(width for width in WIDTHS if width < self.max_length), self.max_length)
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for index, (best, chance) in self._results(self._likeliest, SortedBatches(tokens, BATCH, buckets)):
            for place, row, certain in zip(index.tolist(), best, chance, strict=True):
                found[place] = row, certain
        answers = []
        for place, (text, given, spans) in enumerate(read):
            columns, (best, chance) = made.first[place], found[place]
            names = tuple(self.tags[best[at]] if at >= 0 else "" for at in columns.tolist())
            chances = tuple(float(chance[at]) if at >= 0 else 0.0 for at in columns.tolist())
            answers.append(TaggedSentence(text, tuple(given), names, chances, tuple(spans)))
        return answers


def _read(sentence: object, place: int) -> tuple[str, list[str], list[tuple[int, int]]]:
    """A sentence's text, its words, and the characters of each."""
    if isinstance(sentence, str):
        found = list(WORD.finditer(sentence))
        if not found:
            raise DataError(_("sentence {place} has no word."), place=place)
        return sentence, [each.group() for each in found], [each.span() for each in found]
    if not isinstance(sentence, list | tuple) or not all(isinstance(word, str) for word in sentence):
        raise DataError(
            _("sentence {place} is a {type}; a text or a list of words is needed."),
            place=place,
            type=type(sentence).__name__,
        )
    if not sentence or any(not word or re.search(r"\s", word) for word in sentence):
        raise DataError(
            _("sentence {place} has no words, an empty one, or one with white space."), place=place
        )
    ends = np.cumsum([len(word) + 1 for word in sentence]) - 1
    spans = [(int(end) - len(word), int(end)) for word, end in zip(sentence, ends, strict=True)]
    return " ".join(sentence), list(sentence), spans
