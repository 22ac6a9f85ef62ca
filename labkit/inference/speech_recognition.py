"""Speech recognition with a trained model: transcripts of sounds, greedy or by beam search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.config import known_settings
from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.speech import SortedSpeech
from labkit.data.transcripts import has_transcripts, waves_of
from labkit.i18n import _
from labkit.inference.ctc_search import prefix_beam_search
from labkit.inference.pipeline import Pipeline
from labkit.models.conformer import STRIDE
from labkit.tasks.asr import SpeechRecognition, Transcribing
from labkit.train.speech_processor import SpeechProcessor

if TYPE_CHECKING:
    from datasets import Dataset

#: What the model reads at most, in seconds: attention grows with the square of it.
LONGEST = 60.0


@dataclass(frozen=True)
class Transcript:
    """What was said in a sound.

    Attributes:
        text: the transcript; "" where nothing was recognised.
        characters: the characters of greedy decoding with their time in seconds and their probability.
        seconds: length of the sound, without digital silence at its end.
        score: natural logarithm of the score of ``text``: of greedy decoding the likeliest alignment's probability, of
            beam search that of all alignments and the language model.
    """

    text: str
    characters: tuple[tuple[str, float, float], ...]
    seconds: float
    score: float

    def __str__(self) -> str:
        return self.text


class SpeechRecognitionPipeline(Pipeline):
    """A model of the task "asr" that a run has written or exported."""

    task = SpeechRecognition
    head: Transcribing
    processor: SpeechProcessor

    def __init__(self, *given: Any, **settings: Any):
        super().__init__(*given, **settings)
        self._answer = self.compiled(self.head.log_probabilities)
        self.characters, self.rate = self.head.classes, self.processor.spectra.rate

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self.characters)} characters, {self.rate:,} Hz>"

    def _used(self, module: Any) -> Any:
        return module

    @known_settings
    def transcribe(
        self,
        sounds: str | Path | np.ndarray | Sequence[Any],
        beams: int = 1,
        language: float = 0.5,
        bonus: float = 0.0,
    ) -> Any:
        """The words spoken in sounds, a list of :class:`Transcript`; for a single one it alone.

        Args:
            sounds: WAV files, or arrays f32[samples] (int16, or floats from -1 to 1) at :attr:`rate` samples a second.
            beams: transcripts that prefix beam search follows; 1: greedy decoding, without a language model.
            language: weight of the language model of characters in beam search, fitted on the training transcripts;
                0: none.
            bonus: added to the score for each character in beam search; above 0 it favours longer transcripts.

        Raises:
            DataError: a sound cannot be read, or is longer than a minute.
            ConfigError: ``beams`` or ``language`` out of range.
        """
        if isinstance(sounds, str | Path | np.ndarray):
            return self.transcribe([sounds], beams, language, bonus)[0]
        _check(beams, language)
        waves = self.processor.waves(sounds)
        for place, wave in enumerate(waves):
            if len(wave) > LONGEST * self.rate:
                raise DataError(
                    _("sound {place} is {seconds:.1f} s long; the model reads {most:.0f} s at most. Divide it."),
                    place=place, seconds=len(wave) / self.rate, most=LONGEST,
                )  # fmt: skip
        frames = [self.processor.spectra(wave) for wave in waves]
        return self._read(self.processor.batches_of(frames), beams, language, bonus)

    __call__ = transcribe

    def transcribe_split(
        self, part: Dataset, beams: int = 1, language: float = 0.5, bonus: float = 0.0
    ) -> list[Transcript]:
        """The same of the rows of a split. Raises :class:`DataError` for rows that are no sounds with transcripts."""
        _check(beams, language)
        return self._read(self.processor.batches_of(self.frames_of(part)), beams, language, bonus)

    def frames_of(self, part: Dataset) -> list[np.ndarray]:
        """The frames f32[t, bands] of the sounds of a split. Raises :class:`DataError` for rows without sounds."""
        if not has_transcripts(part):
            raise DataError(_("the rows are no sounds with transcripts."))
        return [self.processor.spectra(wave) for wave in waves_of(part)]

    def _read(self, batches: SortedSpeech, beams: int, language: float, bonus: float) -> list[Transcript]:
        found: dict[int, Transcript] = {}
        lengths = batches.tokens.lengths
        for index, (logs, length, emits) in self._results(self._answer, batches):
            for place, each, frames, mine in zip(index.tolist(), logs, length.tolist(), emits, strict=True):
                found[place] = self._transcript(
                    each[:frames], mine[:frames], int(lengths[place]) / 100, beams, language, bonus
                )
        return [found[place] for place in range(len(found))]

    def _transcript(
        self, logs: np.ndarray, emits: np.ndarray, seconds: float, beams: int, language: float, bonus: float
    ) -> Transcript:
        best = logs.argmax(-1)
        characters = tuple(
            (self.characters[best[at] - 1], at * STRIDE / 100, float(np.exp(logs[at, best[at]])))
            for at in np.flatnonzero(emits).tolist()
        )
        if beams == 1:
            text = "".join(character for character, _at, _chance in characters)
            return Transcript(" ".join(text.split()), characters, seconds, float(logs.max(-1).sum()))
        model = self.processor.language if language else None
        first = prefix_beam_search(logs, self.characters, beams, model, language, bonus)[0]
        return Transcript(" ".join(first.text.split()), characters, seconds, first.score)


def _check(beams: int, language: float) -> None:
    if not (isinstance(beams, int) and 1 <= beams <= 1000):
        raise ConfigError(_("beams = {beams!r} must be a whole number from 1 to 1000."), beams=beams)
    if not 0 <= language <= 10:
        raise ConfigError(_("language = {language!r} must be from 0 to 10."), language=language)
