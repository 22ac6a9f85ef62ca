"""The sample spoken-words: recordings of a person as test rows, and synthetic voices as training rows.

The recordings are the digits, letters and phonetic alphabet of Asterisk's English prompts. The synthetic voices say
the same words, alone and in short sequences; they are spoken on first use by eSpeak NG, in a process of its own.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import re
import struct
import subprocess
import sys
import wave
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.cache import cache_dir, fingerprint, write_atomic
from labkit.core.errors import DataError, SampleError
from labkit.core.extras import require
from labkit.hub.raw_table import RawTable
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

#: Samples a second of the recordings, and of eSpeak NG.
RATE, SPOKEN_RATE = 8_000, 22_050
#: Groups of the recordings, by their folders.
GROUPS = ("digits", "letters", "phonetic")
#: Transcripts that are misspelt in the table, and the spoken words.
MISSPELT = {"fourtieth": "fortieth", "exclaimation point": "exclamation point"}
#: Accents of English that the voices speak with; most of them the one of the recordings.
ACCENTS = ("en-us", "en-us", "en-us", "en-us-nyc", "en-gb-x-rp", "en-gb-scotland", "en-029")
#: Voices of eSpeak NG that are apart from training: those of the validation rows, and those of the split "synthetic".
VALIDATION = ("Annie", "Michael", "belinda", "david", "f3", "m4", "steph2", "klatt3")
APART = ("Alicia", "Andy", "Gene", "Storm", "anika", "f1", "linda", "m1", "m7", "pablo")
VOICES = (
    "Alex", "Andrea", "Denis", "Diogo", "Gene2", "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Mario", "Mike",
    "Mr serious", "Nguyen", "Reed", "RicishayMax", "RicishayMax2", "Tweaky", "adam", "announcer", "antonio", "aunty",
    "benjamin", "boris", "caleb", "ed", "edward", "edward2", "f2", "f4", "f5", "grandma", "grandpa", "gustave", "ian",
    "iven", "iven2", "iven3", "john", "kaukovalta", "klatt", "klatt2", "klatt4", "klatt5", "m2", "m3", "m5", "m6", "m8",
    "marcelo", "max", "michel", "miguel", "mike2", "norbert", "paul", "pedro", "quincy", "rob", "robert", "sandro",
    "shelby", "steph", "steph3", "travis", "victor", "zac",
)  # fmt: skip
#: Rows of the validation rows and of the split "synthetic".
HELD_OUT = 300
#: Of the rows, those of one word and of two; the others have three.
ONE, TWO = 0.7, 0.9
#: Seconds for each character of a transcript; shorter sounds are left out.
SHORTEST = 0.05
_PROCESS = Path(__file__).with_name("espeak_process.py")
#: Seconds that eSpeak NG may take, and rows that it is given at a time.
_PATIENCE, _PORTION = 600, 1000


def convert(place: Path) -> None:
    """``prompts.csv``, a recording a line with its group, name, transcript and number of samples; and ``prompts.pcm``,
    the samples of all, int16 little-endian, 8,000 a second."""
    with gzip.open(place / "raw/transcripts.txt.gz", "rt", encoding="utf-8") as file:
        said = dict(line.rstrip("\n").split(": ", 1) for line in file if ": " in line and line[0] != ";")
    lines, waves = [("group", "name", "transcript", "samples")], []
    for group in GROUPS:
        for path in sorted((place / "raw" / group).glob("*.wav")):
            if (text := _transcript(said.get(f"{group}/{path.stem}", ""))) == "":
                continue
            with wave.open(str(path)) as file:
                values = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            samples = np.rint((values / 32768).astype(np.float32) * 32767).astype("<i2")
            lines.append((group, path.stem, text, str(len(samples))))
            waves.append(samples)
    with open(place / "prompts.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    (place / "prompts.pcm").write_bytes(np.concatenate(waves).tobytes())


def _transcript(given: str) -> str:
    """A transcript as it is spoken: "A.M." as its letters, without the sign in brackets."""
    text = re.sub(r"\[.*\]", " ", given.lower()).replace(".", " ").replace("-", " ")
    text = " ".join(text.split())
    return MISSPELT.get(text, text)


def spoken_words(place: Path, rows: int = 4000, words: int = 1, seed: int = 0) -> RawTable:
    """Splits: ``train``, by synthetic voices; ``validation`` and ``synthetic``, by synthetic voices that are in no
    other split; and ``test``, the recordings of a person. Columns: ``transcript``, ``group``, ``voice``.

    Args:
        place: the folder of the sample.
        rows: training rows, less a few that are too short for their words.
        words: words of a row at most, 1 to 3; the recordings are single words.
        seed: of their words, voices, speeds and pitches.
    """
    if not 100 <= rows <= 200_000:
        raise DataError(_("rows = {rows} must be from 100 to 200,000."), rows=rows)
    if words not in (1, 2, 3):
        raise DataError(_("words = {words} must be 1, 2 or 3."), words=words)
    with open(place / "prompts.csv", encoding="utf-8", newline="") as file:
        prompts = list(csv.DictReader(file))
    whole = np.fromfile(place / "prompts.pcm", "<i2").astype(np.int16)
    ends = np.cumsum([int(one["samples"]) for one in prompts])
    waves = np.split(whole, ends[:-1])
    known = {
        group: sorted({one["transcript"] for one in prompts if one["group"] == group}) for group in GROUPS
    }
    splits = {}
    for number, (split, count, voices) in enumerate(
        (("train", rows, VOICES), ("validation", HELD_OUT, VALIDATION), ("synthetic", HELD_OUT, APART))
    ):
        lines = list(_lines(known, words, count, voices, np.random.default_rng([seed, number])))
        spoken = [(wave, line) for wave, line in zip(speak(lines), lines, strict=True) if _whole(wave, line)]
        splits[split] = _table([wave for wave, _line in spoken], [line for _wave, line in spoken])
    human = [
        {"transcript": one["transcript"], "group": one["group"], "voice": "recording"} for one in prompts
    ]
    splits = {"train": splits["train"], "validation": splits["validation"], "test": _table(waves, human),
              "synthetic": splits["synthetic"]}  # fmt: skip
    return RawTable(splits, "", "", (), kind="audio", transcript="transcript", rate=RATE)


def _lines(
    words: dict[str, list[str]], most: int, count: int, voices: Sequence[str], random: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """A spoken text, and how it is spoken."""
    for _row in range(count):
        draw = random.random()
        length = min(most, 1 + (draw >= ONE) + (draw >= TWO))
        groups = random.choice(GROUPS, length, p=(0.4, 0.45, 0.15))
        said = [str(random.choice(words[group])) for group in groups]
        group = str(groups[0]) if length == 1 else "sequences"
        voice = f"{random.choice(ACCENTS)}+{random.choice(voices)}"
        speed, pitch, span = (int(random.integers(*each)) for each in ((100, 180), (25, 80), (20, 80)))
        # In upper case single letters are spoken as their names.
        text = ", ".join(re.sub(r"\b[a-z]\b(?!')", lambda one: one.group().upper(), word) for word in said)
        yield {
            "transcript": " ".join(said), "group": group, "voice": voice, "text": text, "speed": speed, "pitch": pitch,
            "range": span,
        }  # fmt: skip


def _whole(wave: np.ndarray, line: dict[str, Any]) -> bool:
    """Whether a sound is long enough for its words: a few voices swallow some."""
    heard = np.flatnonzero(wave)
    return len(heard) > 0 and (heard[-1] - heard[0]) / RATE >= SHORTEST * len(line["transcript"])


def speak(lines: Sequence[dict[str, Any]]) -> list[np.ndarray]:
    """Lines spoken by eSpeak NG, int16[samples] at 8,000 a second each; kept in the cache.

    Args:
        lines: with ``text``, ``voice`` ("en-us+f1"), ``speed`` (words a minute), ``pitch`` and ``range`` (0 to 99).

    Raises:
        ExtraError: the package espeakng-loader is not installed.
        SampleError: eSpeak NG fails.
    """
    asked = [{name: line[name] for name in ("text", "voice", "speed", "pitch", "range")} for line in lines]
    place = cache_dir("spoken") / f"{fingerprint(json.dumps(asked))[:24]}.npy"
    if not place.exists():
        found = [
            wave
            for start in range(0, len(asked), _PORTION)
            for wave in _spoken(asked[start : start + _PORTION])
        ]
        sizes = np.array([len(wave) for wave in found], np.int64)
        content = struct.pack("<Q", len(sizes)) + sizes.astype("<i8").tobytes()
        write_atomic(place, content + np.concatenate(found).astype("<i2").tobytes())
    raw = place.read_bytes()
    count = struct.unpack_from("<Q", raw)[0]
    sizes = np.frombuffer(raw, "<i8", count, 8)
    whole = np.frombuffer(raw, "<i2", offset=8 + 8 * count).astype(np.int16)
    return np.split(whole, np.cumsum(sizes)[:-1])


def _spoken(lines: list[dict[str, Any]]) -> Iterator[np.ndarray]:
    from scipy.signal import resample_poly

    require("speech")
    found = importlib.util.find_spec("espeakng_loader")  # not imported: the process alone loads the library
    assert found is not None and found.submodule_search_locations, "the extra is installed"
    folder = Path(next(iter(found.submodule_search_locations)))
    name = {"win32": "espeak-ng.dll", "darwin": "libespeak-ng.dylib"}.get(sys.platform, "libespeak-ng.so")
    request = {
        "library": str(folder / name), "data": str(folder / "espeak-ng-data"), "rate": SPOKEN_RATE,
        "lines": lines,
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, str(_PROCESS)], input=json.dumps(request).encode(), capture_output=True,
            timeout=_PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SampleError(_("eSpeak NG took more than {seconds} seconds."), seconds=_PATIENCE) from None
    if done.returncode:
        error = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit {done.returncode}"]
        raise SampleError(_("eSpeak NG failed: {error}."), error=error[-1][:300])
    at = 0
    for _line in lines:
        count = struct.unpack_from("<I", done.stdout, at)[0]
        spoken = np.frombuffer(done.stdout, "<i2", count, at + 4)
        at += 4 + 2 * count
        ratio = Fraction(RATE, SPOKEN_RATE)
        slower = resample_poly(spoken / 32768, ratio.numerator, ratio.denominator).clip(-1, 1)
        yield np.rint(slower.astype(np.float32) * 32767).astype(np.int16)


def _table(waves: Sequence[np.ndarray], lines: Sequence[dict[str, Any]]) -> Dataset:
    """Sounds of their own lengths, with the columns of their lines."""
    import pyarrow as pa
    from datasets import Dataset, Features, List, Value

    ends = np.concatenate([[0], np.cumsum([len(wave) for wave in waves])]).astype(np.int32)
    sounds = pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(waves)))
    named = {
        name: pa.array([line[name] for line in lines], pa.string())
        for name in ("transcript", "group", "voice")
    }
    kinds = Features(
        {"sound": List(Value("int16")), **dict.fromkeys(named, Value("string")), "row": Value("int64")}
    )
    table = pa.table(
        [sounds, *named.values(), pa.array(range(len(lines)), pa.int64())], schema=kinds.arrow_schema
    )
    return Dataset(table)
