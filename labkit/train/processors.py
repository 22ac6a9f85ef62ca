"""Processors of texts, images, sounds and features, and which one reads the rows of a modality."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from datasets import Dataset

from labkit.core.cache import write_atomic
from labkit.core.config import dumps, load_file
from labkit.core.errors import ConfigError, DataError
from labkit.data.answers import answers_of
from labkit.data.batching.arrays import (
    ArrayBatches,
    Arrays,
    MaskBatches,
    MaskedArrays,
    Standard,
    VectorArrays,
    VectorBatches,
    stack,
)
from labkit.data.batching.base import Batches
from labkit.data.batching.buckets import BucketBatches, SortedBatches, choose_buckets
from labkit.data.batching.corpus import sentence_pairs, stream
from labkit.data.batching.dialogues import DialogueBatches, DialogueTokens, dialogues
from labkit.data.batching.packing import PackedBatches, choose
from labkit.data.batching.pairs import PairBatches, TextPairs
from labkit.data.batching.qa_windows import WindowBatches, Windows, windows
from labkit.data.batching.tagged import TaggedBatches, TaggedTokens, tagged
from labkit.data.cells import Column
from labkit.data.conversations import conversations_of
from labkit.data.io.audio import Sound, as_wave, read_wav
from labkit.data.io.pixels import Pixels
from labkit.data.masks import masks_of
from labkit.data.new_rows import features_of
from labkit.data.precision import rounded_away
from labkit.data.rows import Rows
from labkit.data.schema import Spec
from labkit.data.tags import tags_of
from labkit.data.targets import targets_of
from labkit.data.text.encode import encode
from labkit.data.text.tokenizer import Tokenizer
from labkit.data.text.tokens import Tokens
from labkit.i18n import _
from labkit.models.base import Modality, ModelConfig
from labkit.models.bert import sentence
from labkit.models.columns import Columns, quantile_edges
from labkit.tasks.base import ExampleFormat, Task
from labkit.train.experiment import Experiment, Training
from labkit.train.model_facts import read_facts
from labkit.train.processor import Processor, batch_size_of
from labkit.train.recommend_processor import RecommendProcessor
from labkit.train.series_processor import SeriesProcessor
from labkit.train.speech_processor import SpeechProcessor
from labkit.train.warm_start import start_experiment, start_folder

#: Examples in one compiled call of a prediction: as many of the first as are needed for few.
BATCH, FEW = 32, (1, 8)
#: Lengths that texts are padded to in a prediction: by a third at most, and few, for each is compiled.
WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
#: Tokens of a row of running text, at most.
WHOLE = 2**20
#: The default ``max_length`` is never below and never above; examples that it is chosen by.
SHORTEST, LONGEST, SAMPLE = 128, 512, 2000
#: Characters of the training texts for a piece of the default ``vocabulary``, which is never below and never
#: above.
CHARACTERS, FEWEST, MOST = 80, 1000, 8000
_STANDARD, _SOUND, _PIXELS = "standard.toml", "sound.toml", "pixels.toml"


class TextProcessor(Processor):
    """Texts through a tokenizer, to packed rows or buckets of lengths.

    Passages are drawn by ``seed``; windows over a paragraph share ``stride`` tokens.
    """

    modality = Modality.TEXT
    tokenizer: Tokenizer
    max_length: int

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int,
        example_format: str = "rows",
        seed: int = 0,
        stride: int = 0,
    ):
        self.tokenizer, self.max_length, self.example_format = (
            tokenizer,
            max_length,
            ExampleFormat(example_format),
        )
        self.seed, self.stride = seed, stride

    @classmethod
    def create(cls, experiment: Experiment, folder: Path, rows: Rows) -> Self:
        """With the tokenizer in the run's folder, else that of the pretrained model, else one learnt from the
        rows."""
        kept = folder / "tokenizer"
        known = (kept / "tokenizer.json").exists()
        tokenizer = Tokenizer.load(kept) if known else tokenizer_of(experiment.model, experiment.task, rows)
        tokenizer.save(kept)
        if experiment.task.max_length is None:
            lengths = lengths_of(rows["train"], tokenizer, experiment.task.example_format)
            experiment = with_length(experiment, fitting_length(lengths, experiment.model))
        return cls._of(tokenizer, experiment)

    @classmethod
    def load(cls, experiment: Experiment, folder: Path, shape: tuple[int, ...] | None) -> Self:
        """The processor with the tokenizer of a model's folder."""
        shortest = fitting_length(np.zeros(0), experiment.model)
        return cls._of(Tokenizer.load(folder), with_length(experiment, shortest))

    @classmethod
    def _of(cls, tokenizer: Tokenizer, experiment: Experiment) -> Self:
        task = experiment.task
        tokenizer = tokenizer.open_ended() if task.problem_type and experiment.model.pools_last else tokenizer
        assert task.max_length is not None, "with_length has set it"
        return cls(tokenizer, task.max_length, task.example_format, experiment.train.seed, task.stride)

    def encode(self, dataset: Dataset) -> Tokens | TextPairs | Windows | TaggedTokens | DialogueTokens:
        """Token numbers of every example; those of rows come from the cache where they were made before."""
        return self._ENCODERS[self.example_format](self, dataset)

    def _rows(self, dataset: Dataset) -> Tokens:
        return replace(encode(dataset, self.tokenizer, self.max_length), target=targets_of(dataset))

    def _spans(self, dataset: Dataset) -> Windows:
        if "text_pair" not in dataset.column_names:
            raise DataError(
                _('questions need paragraphs: lk.load(..., text=("question", "context"), label=False).')
            )
        _unused, spans = answers_of(dataset)
        return windows(
            dataset["text"], dataset["text_pair"], self.tokenizer, self.max_length, self.stride, spans
        )

    def _tagged(self, dataset: Dataset) -> TaggedTokens:
        """Sentences with the tags of their words; the first call, with the training rows, names the tags."""
        words, tags = tags_of(dataset)
        self.tags = self.tags or tuple(sorted({tag for each in tags for tag in each}))
        numbers = {name: number for number, name in enumerate(self.tags)}
        return tagged(encode(dataset, self.tokenizer, self.max_length), words, self.tokenizer, tags, numbers)

    def _dialogues(self, dataset: Dataset) -> DialogueTokens:
        """Conversations by the chat template of the tokenizer."""
        rows = np.array(dataset["row"], np.int64) if "row" in dataset.column_names else None
        return dialogues(conversations_of(dataset), self.tokenizer, self.max_length, rows)

    def _stream(self, dataset: Dataset) -> Tokens:
        tokenizer, skip = self.tokenizer.running
        return stream(encode(dataset, tokenizer, WHOLE), self.max_length, skip)

    def _passages(self, dataset: Dataset) -> Tokens:
        whole = encode(dataset, self.tokenizer.passages, WHOLE)
        return sentence_pairs(whole, whole.label, self.max_length, self.seed)

    def _two(self, dataset: Dataset) -> TextPairs:
        """Source and target, each tokenised alone; without a second text the first is both."""
        return self._pairs(dataset, self.tokenizer)

    def _translation(self, dataset: Dataset) -> TextPairs:
        return self._pairs(dataset, self.tokenizer.targets)

    def _pairs(self, dataset: Dataset, targets: Tokenizer) -> TextPairs:
        kept = [name for name in ("text", "label", "row") if name in dataset.column_names]
        source = encode(dataset.select_columns(kept), self.tokenizer, self.max_length)
        if "text_pair" not in dataset.column_names:
            return TextPairs(source, source)
        other = dataset.select_columns(["text_pair", *kept[1:]]).rename_column("text_pair", "text")
        return TextPairs(source, encode(other, targets, self.max_length))

    _ENCODERS: ClassVar[dict[ExampleFormat, Callable[[Any, Any], Any]]] = {
        ExampleFormat.ROW: _rows,
        ExampleFormat.TWO_TEXTS: _two,
        ExampleFormat.TRANSLATION: _translation,
        ExampleFormat.SPANS: _spans,
        ExampleFormat.TAGS: _tagged,
        ExampleFormat.CONVERSATION: _dialogues,
        ExampleFormat.STREAM: _stream,
        ExampleFormat.PASSAGES: _passages,
    }

    def sized(self, model: ModelConfig) -> ModelConfig:
        """Vocabulary from the tokenizer. Raises :class:`ConfigError` where the model is too small."""
        if model.vocab_size is None:
            model = model.replace(vocab_size=self.tokenizer.vocab_size)
        elif model.vocab_size < self.tokenizer.vocab_size:
            raise ConfigError(
                _("the tokenizer has {n_pieces} tokens, but the model has only {n_rows} embeddings."),
                n_pieces=self.tokenizer.vocab_size, n_rows=model.vocab_size,
            )  # fmt: skip
        if self.max_length > model.max_length:
            raise ConfigError(
                _("max_length = {max_length} is longer than the model's {positions} positions."),
                max_length=self.max_length, positions=model.max_length,
            )  # fmt: skip
        return model

    def batches(
        self,
        examples: Tokens | TextPairs | Windows | TaggedTokens | DialogueTokens,
        train: Training,
        model: ModelConfig,
        parts: int,
        shuffle: bool,
    ) -> tuple[Batches, str]:
        """Packed rows or buckets, whichever the lengths make cheaper, unless ``packing`` says which."""
        lengths = examples.lengths[examples.label >= 0] if self.labelled else examples.lengths
        if isinstance(examples, TextPairs | Windows | TaggedTokens | DialogueTokens):
            if train.packing == "always" and isinstance(examples, DialogueTokens):
                raise ConfigError(_("packing = 'always': conversations are not read from packed rows."))
            if train.packing == "always" and isinstance(examples, TaggedTokens):
                raise ConfigError(_("packing = 'always': tags of words are not read from packed rows."))
            size = batch_size_of(train, parts)
            widths = choose_buckets(lengths, model.max_length, train.buckets, batch_size=size)
            if isinstance(examples, TextPairs):
                # pyrefly: ignore[bad-argument-type] (it takes pairs where its base takes tokens)
                made, what = PairBatches(examples, size, widths, train.seed, shuffle), "pair"
            elif isinstance(examples, TaggedTokens):
                made, what = TaggedBatches(examples, size, widths, train.seed, shuffle), "sentence"
            elif isinstance(examples, DialogueTokens):
                made, what = DialogueBatches(examples, size, widths, train.seed, shuffle), "conversation"
            else:
                made, what = WindowBatches(examples, size, widths, train.seed, shuffle), "window"
            return made, f"buckets of {', '.join(map(str, widths))} tokens: a row holds one {what}"
        packing = train.packing
        if not model.packs:
            if packing == "always":
                raise ConfigError(
                    _("packing = 'always': {type} does not support packed rows."), type=type(model).__name__
                )
            packing = "never"
        layout = choose(
            lengths, model.max_length, batch_size_of(train), train.buckets,
            cost=6 * model.width, packing=packing, parts=parts,
        )  # fmt: skip
        if layout.packed:
            settings = {"labelled_only": self.labelled, "parts": parts}
            return PackedBatches(
                examples, batch_size_of(train), layout, train.seed, shuffle, **settings
            ), layout.reason
        size, settings = batch_size_of(train, parts), {"labelled_only": self.labelled}
        return BucketBatches(examples, size, layout.widths, train.seed, shuffle, **settings), layout.reason

    def to_predict(self, values: object, pairs: object = None) -> Batches:
        """Batches of new texts by their length, padded to few sizes."""
        tokens = self.tokenizer.encode(values, pairs, self.max_length)
        buckets = (*(length for length in WIDTHS if length < self.max_length), self.max_length)
        size = next((size for size in FEW if len(tokens) <= size), BATCH)
        return SortedBatches(tokens, size, buckets)

    def save(self, folder: Path) -> None:
        """``tokenizer.json`` and what belongs to it."""
        self.tokenizer.save(folder)


class ArrayProcessor(Processor):
    """Base class of processors whose examples are arrays of one shape."""

    def __init__(self, shape: tuple[int, ...] | None = None):
        self.shape = shape

    def raw(self, dataset: Dataset) -> Arrays:
        """The rows as stacked arrays, as they are."""
        return stack(dataset, Spec(modality=self.modality))

    def sized(self, model: ModelConfig) -> ModelConfig:
        """The shape of an example. Raises :class:`ConfigError` where the model was made for another."""
        if model.input_shape is not None and tuple(model.input_shape) != self.shape:
            raise ConfigError(
                _("input_shape = {input_shape}, but an example has the shape {wanted}."),
                input_shape=tuple(model.input_shape),
                wanted=self.shape,
            )
        return model.replace(input_shape=self.shape)

    def batches(
        self, examples: Arrays, train: Training, model: ModelConfig, parts: int, shuffle: bool
    ) -> tuple[ArrayBatches, str]:
        """Batches of one shape; of vectors, where these take the place of the examples."""
        size = batch_size_of(train, parts)
        kind = VectorBatches if isinstance(examples, VectorArrays) else ArrayBatches
        made = kind(examples, size, train.seed, shuffle, labelled_only=self.labelled)
        return made, "all examples have one shape"

    def examples(self, values: object) -> Any:
        """New examples as an array [n, …]; arrays, and lists of them, as they are."""
        return values

    def to_predict(self, values: object, pairs: object = None) -> ArrayBatches:
        """Batches of new examples [n, …], in their order; see :meth:`examples`.

        Raises:
            DataError: they have another shape, or a column is missing.
        """
        try:
            arrays = self._array(self.examples(values))
        except DataError:
            raise
        except (TypeError, ValueError, OverflowError):
            raise DataError(
                _("the examples are not numeric arrays of one shape; the model expects {wanted}."),
                wanted=self.shape,
            ) from None
        if arrays.dtype.kind not in "uif" or arrays.shape[1:] != self.shape:
            raise DataError(
                _("examples of the shape {shape}, {dtype}; the model reads {wanted}."),
                shape=arrays.shape[1:], dtype=arrays.dtype, wanted=self.shape,
            )  # fmt: skip
        return ArrayBatches(self._to_model(arrays), BATCH, shuffle=False, labelled_only=False)

    def _array(self, values: object) -> np.ndarray:
        """Examples as one array; errors of NumPy pass."""
        return np.asarray(values)

    @abstractmethod
    def _to_model(self, values: np.ndarray) -> Arrays:
        """Examples of the right shape as the model reads them."""

    def _same_shape(self, arrays: Arrays) -> Arrays:
        """``arrays``; raises :class:`DataError` where their shape is not that of the training rows."""
        if arrays.shape != self.shape:
            raise DataError(
                _("examples have the shape {shape}; the training rows have {wanted}."),
                shape=arrays.shape,
                wanted=self.shape,
            )
        return arrays


class FeatureProcessor(ArrayProcessor):
    """Features, standardised by the training rows."""

    modality = Modality.FEATURES

    def __init__(
        self,
        shape: tuple[int, ...] | None = None,
        standard: Standard | None = None,
        columns: tuple[Column, ...] = (),
    ):
        super().__init__(shape)
        self.standard, self.columns = standard, columns
        self._train: np.ndarray | None = None  # the standardised training rows, for quantiles

    @classmethod
    def create(cls, experiment: Experiment, folder: Path, rows: Rows) -> Self:
        """Not fitted yet."""
        return cls(columns=rows.schema.features)

    @classmethod
    def load(cls, experiment: Experiment, folder: Path, shape: tuple[int, ...] | None) -> Self:
        """With the scale in ``standard.toml``."""
        place = folder / _STANDARD
        return cls(shape, load_file(Standard, place) if place.exists() else None)

    def check_rows(self, rows: Rows) -> None:
        """Raise :class:`DataError` where the rows have other features than those the scale was fitted on."""
        known = self.standard.columns if self.standard is not None else ()
        read = [(column.name, column.kind, column.features) for column in known]
        if read != [(column.name, column.kind, column.features) for column in rows.schema.features]:
            raise DataError(
                _(
                    "warm_start: the model reads the columns {known}; the rows have {given}, or other categories."
                ),
                known=", ".join(column.name for column in known),
                given=", ".join(column.name for column in rows.schema.features),
            )

    def encode(self, dataset: Dataset) -> Arrays:
        """The rows as standardised arrays; the first call, with the training rows, fits."""
        arrays = self.raw(dataset)
        if self.shape is None:
            self.shape, self.standard = arrays.shape, Standard.fit(arrays).replace(columns=self.columns)
            train = self._standardised(arrays)
            self._train = train.inputs
            return train
        return self._standardised(self._same_shape(arrays))

    def sized(self, model: ModelConfig) -> ModelConfig:
        """The shape of an example and, for models that embed columns, the categories of each column."""
        model = super().sized(model)
        if self.standard is None or not model.embeds_columns:
            return model
        found = self.standard.cardinalities()
        if model.cardinalities is not None and tuple(model.cardinalities) != found:
            raise ConfigError(
                _("cardinalities = {given}, but the columns have {found}."),
                given=model.cardinalities,
                found=found,
            )
        model = model.replace(cardinalities=found)
        return model.replace(edges=self._edges(model)) if model.quantile_bins and not model.edges else model

    def _edges(self, model: ModelConfig) -> tuple[float, ...]:
        """Quantiles of every number in the training rows, which are kept with the model."""
        assert self.standard is not None and model.cardinalities is not None
        places = Columns(model.cardinalities).numbers
        wanted = len(places) * (model.quantile_bins + 1)
        if len(self.standard.edges) != wanted and self._train is not None:
            found = quantile_edges(self._train[:, places], model.quantile_bins)
            self.standard = self.standard.replace(edges=tuple(found.ravel().tolist()))
        return self.standard.edges

    def _standardised(self, arrays: Arrays) -> Arrays:
        return self.standard(arrays) if self.standard else arrays

    def examples(self, values: object) -> Any:
        """New rows of a table as an array of features f64[n, f]; arrays, and lists of them, as they are."""
        listed = isinstance(values, list | tuple)
        array = isinstance(values, np.ndarray) or (listed and not (values and isinstance(values[0], dict)))
        if array or self.standard is None or not self.standard.names:
            return values
        return features_of(values, self.standard.columns, self.standard.names)

    def _array(self, values: object) -> np.ndarray:
        array = np.asarray(values)
        array = array.astype(np.float64) if array.dtype == object else array  # None is a missing value
        return array.reshape(len(array), -1)

    def _to_model(self, values: np.ndarray) -> Arrays:
        values = values if values.dtype == np.uint8 else values.astype(np.float64)
        return self._standardised(Arrays.unlabelled(values))

    def save(self, folder: Path) -> None:
        """``standard.toml``, where there is something to standardise."""
        if self.standard:
            write_atomic(folder / _STANDARD, dumps(self.standard))


class ImageProcessor(ArrayProcessor):
    """Pictures as they are; new ones are brought to the unit of the training pictures."""

    modality = Modality.IMAGE

    def __init__(
        self,
        shape: tuple[int, ...] | None = None,
        pixels: Pixels | None = None,
        example_format: ExampleFormat = ExampleFormat.ROW,
    ):
        super().__init__(shape)
        self.pixels, self.example_format = pixels, example_format

    @classmethod
    def create(cls, experiment: Experiment, folder: Path, rows: Rows) -> Self:
        """Not fitted yet; with the names of the classes of pixels, where each picture has a mask."""
        made = cls(example_format=experiment.task.example_format)
        made.tags = rows.schema.mask_classes if experiment.task.needs_masks else ()
        return made

    @classmethod
    def load(cls, experiment: Experiment, folder: Path, shape: tuple[int, ...] | None) -> Self:
        """With the unit in ``pixels.toml``."""
        place = folder / _PIXELS
        pixels = load_file(Pixels, place) if place.exists() else None
        return cls(shape, pixels, experiment.task.example_format)

    def encode(self, dataset: Dataset) -> Arrays:
        """The rows as stacked arrays, with the masks that the task reads; the first call, with the training rows,
        fits."""
        arrays = self.raw(dataset)
        self.shape = self.shape or arrays.shape
        arrays = self._same_shape(arrays)
        self.pixels = self.pixels or Pixels.fit(arrays.inputs)
        scaled = self._scaled(arrays)
        if self.example_format is not ExampleFormat.MASKS:
            return scaled
        return MaskedArrays(scaled.inputs, scaled.label, scaled.row, mask=masks_of(dataset))

    def batches(
        self, examples: Arrays, train: Training, model: ModelConfig, parts: int, shuffle: bool
    ) -> tuple[ArrayBatches, str]:
        """Batches of one shape; of pictures with masks, with these."""
        if not isinstance(examples, MaskedArrays):
            return super().batches(examples, train, model, parts, shuffle)
        made = MaskBatches(examples, batch_size_of(train, parts), train.seed, shuffle)
        return made, "all examples have one shape"

    def _scaled(self, arrays: Arrays) -> Arrays:
        return arrays if self.pixels is None else replace(arrays, inputs=self.pixels.to_model(arrays.inputs))

    def _array(self, values: object) -> np.ndarray:
        array = np.asarray(values)
        return array[..., None] if array.ndim == 3 else array

    def _to_model(self, values: np.ndarray) -> Arrays:
        if said := rounded_away(values):
            raise DataError(_("the image cannot be read: {said}."), said=said)
        return self._scaled(
            Arrays.unlabelled(values if values.dtype == np.uint8 else values.astype(np.float32))
        )

    def examples(self, values: object) -> Any:
        """New pictures as an array [n, height, width (, channels)]: files, Pillow images or arrays."""
        assert self.shape is not None
        if isinstance(values, list | tuple) and any(
            not isinstance(each, np.ndarray | list | tuple) for each in values
        ):
            return (self.pixels or Pixels()).read(values, self.shape)
        try:
            array = np.asarray(values)
            unit = self.pixels or (Pixels() if array.dtype.kind in "ui" else None)
            return array if unit is None else unit.of_array(array)
        except ValueError as error:  # arrays of several shapes
            if isinstance(error, DataError):
                raise
            raise DataError(
                _("the images have different shapes; the model expects {wanted}."), wanted=self.shape
            ) from None

    def save(self, folder: Path) -> None:
        """``pixels.toml``."""
        if self.pixels:
            write_atomic(folder / _PIXELS, dumps(self.pixels))


class AudioProcessor(ArrayProcessor):
    """Sounds as pictures of their frequencies (:mod:`labkit.data.io.audio`), ``rate`` samples a second."""

    modality = Modality.AUDIO

    def __init__(self, rate: int = 0, sound: Sound | None = None, shape: tuple[int, ...] | None = None):
        super().__init__(shape)
        self.rate, self.sound = rate, sound

    @classmethod
    def create(cls, experiment: Experiment, folder: Path, rows: Rows) -> Self:
        """Not fitted yet."""
        return cls(rows.spec.rate)

    @classmethod
    def load(cls, experiment: Experiment, folder: Path, shape: tuple[int, ...] | None) -> Self:
        """With the spectra of ``sound.toml``."""
        sound = load_file(Sound, folder / _SOUND)
        return cls(sound.rate, sound, shape)

    def encode(self, dataset: Dataset) -> Arrays:
        """The sounds as pictures; the first call, with the training rows, fits."""
        waves = self.raw(dataset)
        if self.sound is None:
            self.sound = Sound.fit(waves, self.rate)
        arrays = self.sound(waves)
        self.shape = self.shape or arrays.shape
        return arrays

    def to_predict(self, values: Any, pairs: Any = None) -> ArrayBatches:
        """Batches of new sounds, in their order: paths of WAV files, or arrays [samples] at the model's rate."""
        assert self.sound is not None
        rate, waves, truncated = self.sound.rate, np.zeros((len(values), self.sound.samples), np.float32), 0
        for place, value in enumerate(values):
            try:
                wave = (
                    read_wav(Path(value), rate)
                    if isinstance(value, str | Path)
                    else as_wave(value, rate, rate)
                )
            except (DataError, TypeError, ValueError) as error:
                name = repr(Path(value).name) if isinstance(value, str | Path) else f"sound {place}"
                raise DataError(
                    _("{name} cannot be read: {error}; the model expects sound files or arrays."),
                    name=name,
                    error=error,
                ) from None
            waves[place, : len(wave)] = wave[: self.sound.samples]
            truncated += len(wave) > self.sound.samples
        arrays = replace(self._to_model(waves), truncated=truncated)
        return ArrayBatches(arrays, BATCH, shuffle=False, labelled_only=False)

    def truncation_note(self, truncated: int, of: int) -> str:
        """What to say where ``truncated`` of ``of`` new sounds were longer than the model reads."""
        assert self.sound is not None
        return _(
            "{truncated:,} of {of:,} sounds are longer than the {seconds:.2f} s that the model reads: "
            "their end was left out.",
            truncated=truncated, of=of, seconds=self.sound.samples / self.sound.rate,
        )  # fmt: skip

    def _to_model(self, values: np.ndarray) -> Arrays:
        assert self.sound is not None
        return self.sound(Arrays.unlabelled(values))

    def save(self, folder: Path) -> None:
        """``sound.toml``."""
        assert self.sound is not None
        write_atomic(folder / _SOUND, dumps(self.sound))


#: How rows become examples → the processor, where that does not follow from their modality.
BY_FORMAT: dict[ExampleFormat, type[Processor]] = {ExampleFormat.TRANSCRIPTS: SpeechProcessor}
#: Modality → its processor.
PROCESSORS: dict[str, type[Processor]] = {
    each.modality: each
    for each in (
        TextProcessor,
        ImageProcessor,
        AudioProcessor,
        FeatureProcessor,
        SeriesProcessor,
        RecommendProcessor,
    )
}


def _kind(experiment: Experiment, modality: str) -> type[Processor]:
    return BY_FORMAT.get(experiment.task.example_format) or PROCESSORS[modality]


def processor_of(experiment: Experiment, folder: Path, rows: Rows) -> Processor:
    """The processor of a run in ``folder``, for its rows; of a warm start that of the model it starts from.

    Raises:
        ConfigError, DataError, WeightsError: the rows cannot be read as that model reads them.
    """
    if (start := start_folder(experiment, folder)) is not None:
        return _of_start(experiment, start, rows)
    made = _kind(experiment, rows.spec.modality).create(experiment, folder, rows)
    made.labelled = experiment.task.problem_type is not None
    return made


def _of_start(experiment: Experiment, start: Path, rows: Rows) -> Processor:
    """The processor of the model that a run starts from: its tokenizer, scales and shape."""
    facts = read_facts(start)
    if facts.modality != rows.spec.modality:
        raise DataError(
            _("warm_start: the model reads {given}; the rows are {wanted}."),
            given=str(facts.modality), wanted=rows.spec.modality,
        )  # fmt: skip
    experiment = with_length(experiment, start_experiment(start).task.max_length)
    made = load_processor(experiment, start, facts.modality, facts.shape)
    made.check_rows(rows)
    return made


def load_processor(
    experiment: Experiment, folder: Path, modality: str, shape: tuple[int, ...] | None
) -> Processor:
    """The processor that :meth:`Processor.save` wrote beside a model. ``modality`` and ``shape`` are those of
    its examples."""
    made = _kind(experiment, modality).load(experiment, folder, shape)
    made.labelled = experiment.task.problem_type is not None
    return made


def lengths_of(dataset: Dataset, tokenizer: Tokenizer, example_format: ExampleFormat) -> np.ndarray:
    """Tokens of some examples of a split, evenly spaced over it, i64[n]; none above :data:`LONGEST`."""
    some = dataset.select(np.unique(np.linspace(0, len(dataset) - 1, SAMPLE).round().astype(np.int64)))
    if example_format is ExampleFormat.CONVERSATION:
        return dialogues(conversations_of(some), tokenizer, LONGEST).lengths
    if example_format is not ExampleFormat.TWO_TEXTS or "text_pair" not in some.column_names:
        return encode(some, tokenizer, LONGEST, cache=False).lengths
    columns = (
        some.select_columns(["text"]),
        some.select_columns(["text_pair"]).rename_column("text_pair", "text"),
    )
    return np.maximum(*(encode(column, tokenizer, LONGEST, cache=False).lengths for column in columns))


def fitting_length(lengths: np.ndarray, model: ModelConfig | None) -> int:
    """The default ``max_length``: no more than one text in 100 is truncated, as far as the model has
    positions.

    It is a multiple of 32, not below :data:`SHORTEST` (new texts may be longer than those of the training;
    memory and time depend on the lengths there are) and not above :data:`LONGEST`, beyond which attention is
    expensive.
    """
    wanted = int(np.quantile(lengths, 0.99, method="higher")) if len(lengths) else 0
    places = LONGEST if model is None else model.max_length or LONGEST
    return min(max(-(-wanted // 32) * 32, SHORTEST), LONGEST, places)


def with_length(experiment: Experiment, max_length: int | None) -> Experiment:
    """The experiment with ``max_length`` where its task leaves that to the data; None for rows that are not
    texts."""
    if max_length is None or experiment.task.max_length is not None:
        return experiment
    return experiment.replace(task=experiment.task.replace(max_length=max_length))


def tokenizer_of(model: ModelConfig | None, task: Task, rows: Rows) -> Tokenizer:
    """The tokenizer of a pretrained model; where there is none (or no model yet), one learnt from the
    training rows."""
    if model is not None and (source := model.folder()) is not None:
        return Tokenizer.load(sentence.encoder_folder(source))
    train = rows["train"]
    columns = [train[name] for name in (("text", "text_pair") if rows.spec.pairs else ("text",))]
    special: dict[str, Any] = {} if model is None else {"special_tokens": model.special_tokens}
    size = fitting_vocabulary(chain(*columns)) if task.vocabulary is None else task.vocabulary
    return Tokenizer.train(chain(*columns), kind=task.tokenizer, vocab_size=size, **special)


def fitting_vocabulary(texts: Iterable[str]) -> int:
    """The default ``vocabulary`` of tasks that predict pieces: one for every :data:`CHARACTERS` of the
    training texts, so that most are seen often enough to be learnt as outputs (Gowda & May 2020, arXiv
    2004.02334)."""
    return min(max(sum(map(len, texts)) // CHARACTERS, FEWEST), MOST)
