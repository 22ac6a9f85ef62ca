"""A folder of made-up speech: a tone stands for each letter."""

from __future__ import annotations

import csv
import wave
from pathlib import Path

import numpy as np

RATE = 8000
TONES = {"a": 400, "b": 900, "c": 1800}


def sound(text: str, random: np.random.Generator) -> np.ndarray:
    """Tones of the letters of a text with pauses between them, int16 at 8,000 samples a second."""
    parts = []
    for letter in text:
        time = np.arange(1200) / RATE
        tone = 0.5 * np.sin(2 * np.pi * TONES.get(letter, 0) * random.uniform(0.97, 1.03) * time)
        parts += [tone, np.zeros(400)]
    whole = np.concatenate(parts)
    return np.rint(20000 * (whole + random.normal(0, 0.01, len(whole)))).astype(np.int16)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    """A WAV file of one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def folder_of_tones(folder: Path, count: int = 40, seed: int = 0) -> Path:
    """WAV files of one to three letters with a table ``metadata.csv`` (``file``, ``said``)."""
    random, lines = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        text = "".join(random.choice(list(TONES), random.integers(1, 4)))
        write(folder / f"{number}.wav", sound(text, random))
        lines.append((f"{number}.wav", f"{' '.join(text).upper()}."))
    with open(folder / "metadata.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "said"), *lines])
    return folder
