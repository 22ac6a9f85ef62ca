"""Sounds of speech as frames, with their transcripts as characters; and their batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.data.batching.base import Batch
from labkit.data.batching.buckets import BucketBatches, SortedBatches

#: The number of "no character" (blank) of connectionist temporal classification.
BLANK = 0


@dataclass(frozen=True, eq=False)
class SpokenFrames:
    """n sounds.

    Attributes:
        frames: f16[total, bands], of all sounds one after the other.
        offsets: i64[n + 1], where each begins.
        characters: i32[total characters], numbers from 1 of the characters of all transcripts.
        ends: i64[n + 1], where each transcript begins among them.
        label: i32[n], 0: sounds have no class. ``target`` is None and ``truncated`` 0: no sound is cut.
        row: i64[n], row numbers in the source.
    """

    frames: np.ndarray
    offsets: np.ndarray
    characters: np.ndarray
    ends: np.ndarray
    row: np.ndarray
    target: None = None
    truncated: int = 0

    @classmethod
    def of(
        cls, frames: Sequence[np.ndarray], characters: Sequence[np.ndarray], row: np.ndarray, bands: int
    ) -> SpokenFrames:
        """From the frames f32[t, bands] and the characters i32[c] of each sound."""
        whole = np.concatenate(
            [np.zeros((0, bands), np.float16), *(each.astype(np.float16) for each in frames)]
        )
        text = np.concatenate([np.zeros(0, np.int32), *characters]).astype(np.int32)
        offsets, ends = (
            np.concatenate([[0], np.cumsum([len(each) for each in part])]).astype(np.int64)
            for part in (frames, characters)
        )
        return cls(whole, offsets, text, ends, row)

    def __len__(self) -> int:
        return len(self.row)

    def __repr__(self) -> str:
        return f"<speech: {len(self)} sounds of {len(self.frames)} frames>"

    @property
    def label(self) -> np.ndarray:
        """i32[n], 0: sounds have no class."""
        return np.zeros(len(self), np.int32)

    @property
    def lengths(self) -> np.ndarray:
        """Frames of every sound, i64[n]."""
        return np.diff(self.offsets)

    @property
    def longest(self) -> int:
        """Characters of the longest transcript, at least 1."""
        return int(np.diff(self.ends).max(initial=1))

    def at(self, place: int) -> np.ndarray:
        """The frames of one sound."""
        return self.frames[self.offsets[place] : self.offsets[place + 1]]


class _Frames:
    """What batches of sounds have in common: ``{"inputs": f32[b, t, bands], "length": i32[b], "characters":
    i32[b, c], "count": i32[b], "label", "weight", "index"}``, padded with 0; a place without a sound has one frame."""

    _speech: SpokenFrames

    def _gathered(self, index: np.ndarray, width: int) -> Batch:
        speech, n = self._speech, len(index)
        inputs = np.zeros((n, width, speech.frames.shape[1]), np.float32)
        characters = np.zeros((n, speech.longest), np.int32)
        length, count = np.ones(n, np.int32), np.zeros(n, np.int32)
        for line, place in enumerate(index.tolist()):
            if place < 0:
                continue
            frames = speech.at(place)
            text = speech.characters[speech.ends[place] : speech.ends[place + 1]]
            length[line], count[line] = len(frames), len(text)
            inputs[line, : len(frames)], characters[line, : len(text)] = frames, text
        return {"inputs": inputs, "length": length, "characters": characters, "count": count}


class SpeechBatches(_Frames, BucketBatches):
    """Batches of sounds of similar length, of a few widths; see :class:`BucketBatches`."""

    def __init__(self, examples: SpokenFrames, *args: Any, **settings: Any):
        super().__init__(examples, *args, labelled_only=False, **settings)  # type: ignore[arg-type]
        self._speech = examples

    def array_shape(self, name: str, array: np.ndarray, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an array of a batch, of which ``array`` is one of another width."""
        return (*shape, array.shape[2]) if name == "inputs" else array.shape

    def _gather(self, index: np.ndarray, width: int) -> Batch:
        return {**self._gathered(index, width), **self._known(index)}


class SortedSpeech(_Frames, SortedBatches):
    """The same in a fixed order, to transcribe; see :class:`SortedBatches`."""

    def __init__(self, examples: SpokenFrames, batch_size: int, buckets: Sequence[int]):
        super().__init__(examples, batch_size, buckets)  # type: ignore[arg-type]
        self._speech = examples

    def _gather(self, index: np.ndarray, width: int) -> Batch:
        return {**self._gathered(index, width), **self._known(index)}
