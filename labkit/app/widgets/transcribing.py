"""Speech in the step Predict: a recording of the microphone, a sound file, or a row of the test rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets

from labkit.app.widgets.answers import Asking
from labkit.core import html, source_code
from labkit.core.errors import DataError
from labkit.core.html import Html
from labkit.data.transcripts import TRANSCRIPT, normalised
from labkit.evaluate.edit_distance import aligned
from labkit.i18n import _
from labkit.inference.speech_recognition import SpeechRecognitionPipeline, Transcript
from labkit.viz import media, speech_html

if TYPE_CHECKING:
    from datasets import Dataset

#: Seconds of a recording at most.
RECORDED = 20.0
#: Beams of the beam search.
BEAMS = 16


class Microphone(anywidget.AnyWidget):
    """Records with the microphone of the page, or reads a sound file; samples arrive as bytes of int16."""

    _esm = Path(__file__).parent / "record.js"
    label = traitlets.Unicode().tag(sync=True)
    record = traitlets.Unicode().tag(sync=True)
    stop = traitlets.Unicode().tag(sync=True)
    recording = traitlets.Unicode().tag(sync=True)
    microphone = traitlets.Unicode().tag(sync=True)
    rate = traitlets.Int(16_000).tag(sync=True)
    longest = traitlets.Float(RECORDED).tag(sync=True)


class Heard(NamedTuple):
    """A sound to transcribe: its name, its samples as bytes of int16, and whether by beam search."""

    name: str
    samples: bytes
    beam: bool


class TranscribedSound(NamedTuple):
    """The transcript, and the frames as an image."""

    transcript: Transcript
    frames: np.ndarray


class Transcribes(Asking):
    """A model of speech transcribes a sound."""

    verb = "transcribe_sound"
    tool: SpeechRecognitionPipeline

    def build(self) -> Sequence[widgets.Widget]:
        words = {key: self.word(key) for key in ("record", "stop", "recording", "microphone")}
        self.microphone = Microphone(label=self.word("sound_file"), rate=self.tool.rate, **words)
        self.microphone.on_msg(self.panel.guarded(self._came))
        self.beam = widgets.Checkbox(False, description=self.word("beam_search"), indent=False)
        self.beam.tooltip = self.word("beam_search_help")
        self.heard, self.name = np.zeros(0, np.int16), ""
        return self.microphone, self.beam

    def take(self, part: Dataset, place: int) -> None:
        row = part[place]
        self.hear(np.asarray(row["sound"], np.int16), self.word("row_number", row=row["row"]))
        self.truth = self.name, str(row[TRANSCRIPT])

    def hear(self, samples: np.ndarray, name: str) -> None:
        """Put a sound, int16 samples at the model's rate, into the controls."""
        self.heard, self.name = samples, name

    def _came(
        self, widget: object, content: dict[str, Any], buffers: Sequence[memoryview] | None = None
    ) -> None:
        name = str(content.get("name", ""))[:200]
        if content.get("type") == "refused":
            raise DataError(
                _("{name!r} cannot be heard: {error}."), name=name, error=str(content.get("error"))[:300]
            )
        if content.get("type") == "sound" and buffers and buffers[0].nbytes % 2 == 0:
            self.hear(np.frombuffer(buffers[0], "<i2").astype(np.int16), name)
            self.panel.go.click()

    def asked(self) -> Heard:
        if not len(self.heard):
            raise DataError(_("record a sound or choose a file first."))
        return Heard(self.name, self.heard.tobytes(), bool(self.beam.value))

    def answer(self, asked: tuple[Any, ...]) -> TranscribedSound:
        wave = np.frombuffer(asked[1], np.int16)
        found = self.tool.transcribe(wave, beams=BEAMS if asked[2] else 1)
        return TranscribedSound(found, self.tool.processor.spectra(self.tool.processor.waves([wave])[0]))

    def shown(self, asked: tuple[Any, ...], found: TranscribedSound) -> Html:
        wave = np.frombuffer(asked[1], np.int16).astype(np.float32) / 32767
        parts = [
            html.paragraph(
                html.joined(media.sound(wave, self.tool.rate, asked[0]), html.safe(f" {asked[0]}"))
            ),
            speech_html.transcript(found.transcript, found.frames, self.language),
        ]
        if self.truth is not None and self.truth[0] == asked[0]:
            edits = aligned(normalised(self.truth[1]), found.transcript.text)
            parts.append(speech_html.alignment(edits, self.language))
        return html.joined(self.true(asked), *parts)

    def code(self, asked: tuple[Any, ...]) -> list[str]:
        settings = {"beams": BEAMS} if asked[2] else {}
        name = asked[0] if asked[0].lower().endswith(".wav") else "sound.wav"
        return [source_code.line(source_code.call("run.transcribe", name, **settings))]
