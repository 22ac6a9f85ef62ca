"""Processor of speech: sounds as frames, and their transcripts as characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from datasets import Dataset

from labkit.core.cache import write_atomic
from labkit.core.config import Config, dumps, load_file, option
from labkit.core.errors import ConfigError, DataError
from labkit.data.arrow import numbers
from labkit.data.batching.base import Batches
from labkit.data.batching.buckets import choose_buckets
from labkit.data.batching.speech import SortedSpeech, SpeechBatches, SpokenFrames
from labkit.data.io.audio import Spectra, as_wave, read_wav
from labkit.data.rows import Rows
from labkit.data.text.character_ngram import CharacterNgram
from labkit.data.transcripts import normalised, transcripts_of, waves_of
from labkit.i18n import _
from labkit.models.base import Modality, ModelConfig
from labkit.models.conformer import STRIDE
from labkit.tasks.asr import SpeechRecognition
from labkit.tasks.base import ExampleFormat
from labkit.tasks.ctc import frames_needed
from labkit.train.experiment import Experiment, Training
from labkit.train.processor import Processor, batch_size_of

_FILE, _LANGUAGE = "speech.toml", "language.json"
#: Sounds in one compiled call; seconds that they are padded to, doubled beyond.
BATCH, WIDTHS = 16, (1.28, 2.56, 5.12, 10.24)


@dataclass(frozen=True)
class SpeechFormat(Config):
    """How a model of speech reads sounds and writes transcripts; kept with it."""

    spectra: Spectra = option(help="Frames.", factory=Spectra)
    characters: tuple[str, ...] = option(
        (), "Characters of the training transcripts, in the order of the outputs."
    )


class SpeechProcessor(Processor):
    """Sounds as frames of log-mel energies; transcripts in their usual form as numbers of characters.

    Attributes:
        format: the spectra, and the characters of the training rows.
        language: language model of the training transcripts, for beam search; None before they are read.
    """

    modality = Modality.AUDIO
    example_format = ExampleFormat.TRANSCRIPTS

    def __init__(self, task: SpeechRecognition, format: SpeechFormat, language: CharacterNgram | None = None):
        self.format, self.language, self.order = format, language, task.order
        self.tags = format.characters
        self.shape = (STRIDE, format.spectra.bands)

    @classmethod
    def create(cls, experiment: Experiment, folder: Path, rows: Rows) -> Self:
        """Not fitted yet."""
        task = experiment.task
        assert isinstance(task, SpeechRecognition)
        return cls(task, SpeechFormat(Spectra(rows.spec.rate, task.bands)))

    @classmethod
    def load(cls, experiment: Experiment, folder: Path, shape: tuple[int, ...] | None) -> Self:
        """With the spectra and the characters of ``speech.toml``, and the language model of ``language.json``."""
        assert isinstance(experiment.task, SpeechRecognition)
        found = load_file(SpeechFormat, folder / _FILE)
        return cls(experiment.task, found, CharacterNgram.load(folder / _LANGUAGE))

    @property
    def spectra(self) -> Spectra:
        """How a sound becomes frames."""
        return self.format.spectra

    def encode(self, dataset: Dataset) -> SpokenFrames:
        """The frames and characters of a split; the first call, with the training rows, collects the characters.

        A character that no training transcript has is left out of a transcript: no output stands for it. Scores of
        :mod:`labkit.evaluate.speech` count it.

        Raises:
            DataError: there are no transcripts, or a sound is too short for its transcript.
        """
        texts = [normalised(text) for text in transcripts_of(dataset)]
        if not self.format.characters:
            self.format = self.format.replace(characters=tuple(sorted(set("".join(texts)))))
            self.tags, self.language = self.format.characters, CharacterNgram.fit(texts, self.order)
        numbers_of = {character: number for number, character in enumerate(self.format.characters, 1)}
        rows = numbers(dataset, "row")
        frames, characters = list[np.ndarray](), list[np.ndarray]()
        for place, wave in enumerate(waves_of(dataset)):
            coded = [numbers_of[one] for one in texts[place] if one in numbers_of]
            seen, text = self.spectra(wave), np.array(coded, np.int32)
            if -(-len(seen) // STRIDE) < (needed := frames_needed(text)):
                raise DataError(
                    _("row {row}: a sound of {seconds:.2f} s is too short for its transcript {text!r}, which takes at "
                      "least {needed:.2f} s. Check the transcript, or leave the row out."),
                    row=int(rows[place]), seconds=len(seen) / 100, text=texts[place][:80],
                    needed=needed * STRIDE / 100,
                )  # fmt: skip
            frames.append(seen)
            characters.append(text)
        return SpokenFrames.of(frames, characters, rows.astype(np.int64), self.spectra.bands)

    def sized(self, model: ModelConfig) -> ModelConfig:
        """The bands of a frame. Raises :class:`ConfigError` where the model was made for others."""
        bands = self.spectra.bands
        if model.input_shape is not None and tuple(model.input_shape)[-1] != bands:
            raise ConfigError(
                _("input_shape = {input_shape}, but a frame has {bands} bands."),
                input_shape=tuple(model.input_shape), bands=bands,
            )  # fmt: skip
        return model.replace(input_shape=self.shape)

    def batches(
        self, examples: SpokenFrames, train: Training, model: ModelConfig, parts: int, shuffle: bool
    ) -> tuple[Batches, str]:
        """Buckets of sounds of similar length."""
        size = batch_size_of(train, parts)
        lengths = examples.lengths
        widths = choose_buckets(lengths, -(-int(lengths.max()) // 8) * 8, train.buckets, batch_size=size)
        made = SpeechBatches(examples, size, widths, train.seed, shuffle)
        return made, f"buckets of {', '.join(map(str, widths))} frames: a row holds one sound"

    def waves(self, values: Any) -> list[np.ndarray]:
        """New sounds f32[samples] at the model's rate: paths of WAV files, or arrays at that rate.

        Raises:
            DataError: one cannot be read.
        """
        found = []
        for place, value in enumerate(values):
            try:
                if isinstance(value, str | Path):
                    found.append(read_wav(Path(value), self.spectra.rate))
                else:
                    found.append(as_wave(value, self.spectra.rate, self.spectra.rate))
            except (DataError, TypeError, ValueError) as error:
                name = repr(Path(value).name) if isinstance(value, str | Path) else f"sound {place}"
                raise DataError(
                    _("{name} cannot be read: {error}; the model expects sound files or arrays."),
                    name=name, error=error,
                ) from None  # fmt: skip
        return found

    def to_predict(self, values: Any, pairs: object = None) -> SortedSpeech:
        """Batches of new sounds; see :meth:`waves`."""
        return self.batches_of([self.spectra(wave) for wave in self.waves(values)])

    def batches_of(self, frames: Sequence[np.ndarray]) -> SortedSpeech:
        """Batches of frames f32[t, bands], in a few widths."""
        none = [np.zeros(0, np.int32)] * len(frames)
        examples = SpokenFrames.of(frames, none, np.arange(len(frames)), self.spectra.bands)
        longest, widths = int(examples.lengths.max(initial=1)), [round(100 * each) for each in WIDTHS]
        while widths[-1] < longest:
            widths.append(2 * widths[-1])
        return SortedSpeech(examples, BATCH, widths)

    def save(self, folder: Path) -> None:
        """``speech.toml`` and ``language.json``."""
        assert self.language is not None, "the training rows have been read"
        write_atomic(folder / _FILE, dumps(self.format))
        self.language.save(folder / _LANGUAGE)
