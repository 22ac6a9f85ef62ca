"""WAV files: reading, resampling, and log-mel spectrograms."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from labkit.core.config import Config, option
from labkit.core.errors import DataError
from labkit.data.batching.arrays import Arrays
from labkit.i18n import _

RATE = 16_000  # samples a second, enough for speech
#: Samples a second of a file: from old telephones to instruments for bats and ultrasound. Resampling from a
#: rate beyond them would cost memory that nothing in the file's size shows.
RATES = (1_000, 1_000_000)
#: The greatest factor that a rate is multiplied or divided by: the filter of resampling has 20 coefficients for each.
#: Usual rates have factors below 1,000; others, such as primes, are approximated to 5e-6.
FACTOR = 50_000
#: Amount of a sample that is no integer at most; what is above 1 is clipped, as players do with loud
#: recordings.
LOUDEST = 8.0
#: Natural logarithms of energy below the loudest that frames of speech keep (43 dB), and what they are divided by.
RANGE, SPREAD = 10.0, 3.0


#: Number of a format in a WAV file → its name, for those that are not read.
_FORMATS = {
    2: "ADPCM",
    6: "A-law",
    7: "µ-law",
    17: "IMA ADPCM",
    49: "GSM 6.10",
    80: "MPEG",
    85: "MP3",
    255: "AAC",
}
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_FORM = 64  # bytes of the format that are looked at; 40 have a meaning


def read_wav(path: Path, rate: int = RATE) -> np.ndarray:
    """A WAV file as f32[samples] from -1 to 1 at ``rate`` samples a second, its channels averaged.

    PCM of 8 to 32 bits and floating point are read, also where a program wrote the file as a stream and so
    could not know its length.

    Raises:
        DataError: it is not a complete WAV file, is compressed, has no samples, or contains non-finite
            values.
    """
    try:
        with open(path, "rb") as file:
            given, values = _samples(file, path.stat().st_size)
    except DataError:
        raise
    except (OSError, ValueError, struct.error) as error:
        raise DataError(_("not a complete WAV file ({type})"), type=type(error).__name__) from error
    if not RATES[0] <= given <= RATES[1]:
        raise DataError(
            _("the header states a sampling rate of {given:,} Hz; supported: {low:,} to {high:,} Hz"),
            given=given, low=RATES[0], high=RATES[1],
        )  # fmt: skip
    return as_wave(values, given, rate)


def _samples(file: BinaryIO, end: int) -> tuple[int, np.ndarray]:
    """Samples a second, and samples [n, channels] as stored."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64") or head[8:] != b"WAVE":
        raise ValueError("no WAV file")
    order, form = ">" if head[:4] == b"RIFX" else "<", b""
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack(f"{order}4sI", head)
        start = file.tell()
        if name == b"data" and form:
            return _decoded(file, form, _length(file, size, end - start), order)
        if name == b"fmt ":
            form = file.read(min(size, _FORM))  # a header may claim 4 GB
        file.seek(_next_chunk(file, start + size, size))
    raise ValueError("no samples in it")


def _length(file: BinaryIO, size: int, rest: int) -> int:
    """Bytes of the samples. A program that writes a stream leaves 0 or the largest number in their place."""
    if size >= 0xFFFFFFFE:
        return rest
    if size == 0 and rest:
        start = file.tell()
        after = file.read(8)
        file.seek(start)
        ended = len(after) == 8 and after[:4].isalnum() and 8 + int.from_bytes(after[4:], "little") <= rest
        return 0 if ended else rest
    if size > rest:
        raise ValueError("cut off")
    return size


def _next_chunk(file: BinaryIO, end: int, size: int) -> int:
    """Where the next chunk begins: after a byte of padding where the size is odd, which some programs leave
    out."""
    if size % 2 == 0:
        return end
    file.seek(end)
    return end if file.read(1).isalpha() else end + 1


def _decoded(file: BinaryIO, form: bytes, length: int, order: str) -> tuple[int, np.ndarray]:
    kind, channels, rate, _unused, frame, bits = struct.unpack(f"{order}HHIIHH", form[:16])
    if kind == _EXTENSIBLE and len(form) >= 26:
        kind = struct.unpack(f"{order}H", form[24:26])[0]
    if kind not in (_PCM, _FLOAT):
        raise DataError(
            _("audio encoded as {format}, not PCM: save it as 16-bit PCM"),
            format=_FORMATS.get(kind, f"format {kind}"),
        )
    width = frame // max(1, channels) or -(-bits // 8)
    known = (4, 8) if kind == _FLOAT else (1, 2, 3, 4)
    if not channels or width not in known:
        raise ValueError(f"{channels} channels of {width} bytes")
    raw = np.frombuffer(file.read(length), np.uint8)
    raw = raw[: len(raw) // (width * channels) * width * channels]
    if width == 3:  # as the upper bytes of 32 bits
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, slice(1, 4) if order == "<" else slice(0, 3)] = raw.reshape(-1, 3)
        raw, width = wide.reshape(-1), 4
    code = f"{order}f{width}" if kind == _FLOAT else f"{order}i{width}"
    if kind != _FLOAT and width == 1:  # one byte has no sign
        code = "u1"
    return rate, raw.view(code).reshape(-1, channels)


def as_wave(values: np.ndarray, given: int, rate: int = RATE) -> np.ndarray:
    """Samples [n] or [n, channels] of any kind, ``given`` a second, as f32[samples] from -1 to 1.

    Raises:
        DataError: there are none, some are not finite, or their kind does not say what the loudest is.
    """
    from scipy.signal import resample_poly

    values = np.asarray(values)
    if values.ndim not in (1, 2) or not len(values) or not given:
        raise DataError(_("sound without samples"))
    wave = values.astype(np.float64)
    if values.dtype == np.uint8:
        wave = (wave - 128) / 128
    elif values.dtype.kind == "i" and values.dtype.itemsize < 8:
        wave /= -float(np.iinfo(values.dtype).min)
    elif values.dtype.kind != "f":
        raise DataError(_("samples of dtype {dtype}: give int16, or floats from -1 to 1"), dtype=values.dtype)
    wave = wave.mean(-1) if wave.ndim == 2 else wave
    if not np.isfinite(wave).all():
        raise DataError(_("samples that are not finite"))
    if (peak := np.abs(wave).max()) > LOUDEST:
        raise DataError(_("samples up to {peak:g}; floats must be between -1 and 1"), peak=peak)
    if given != rate:
        ratio = Fraction(rate, given)
        if max(ratio.numerator, ratio.denominator) > FACTOR:
            ratio = (
                ratio.limit_denominator(FACTOR) if ratio < 1 else 1 / (1 / ratio).limit_denominator(FACTOR)
            )
        wave = resample_poly(wave, ratio.numerator, ratio.denominator)
    return wave.clip(-1, 1).astype(np.float32)


def mel_filters(rate: int, window: int, bands: int) -> np.ndarray:
    """Triangles over the frequencies of a Fourier transform, f64[window // 2 + 1, bands], as HTK has them.

    The mel of f hertz is 2595 log10(1 + f / 700) (O'Shaughnessy 1987); the bands lie evenly on it from 0 to
    rate / 2.
    """
    mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)  # noqa: E731
    edges = 700 * (10 ** (np.linspace(0, mel(rate / 2), bands + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(window, 1 / rate)[:, None]
    up = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(up, down))


def log_mel(
    waves: np.ndarray, rate: int = RATE, *, window: int = 400, hop: int = 160, bands: int = 64
) -> np.ndarray:  # fmt: skip
    """The logarithm of the energy in mel bands, f32[n, frames, bands].

    Args:
        waves: f32[n, samples] from -1 to 1; shorter ones than a window are filled up with silence.
        rate: samples a second.
        window: samples of a frame, under a Hann window (400: 25 ms at 16 kHz).
        hop: samples from one frame to the next (10 ms).
        bands: mel bands.
    """
    waves = np.atleast_2d(np.asarray(waves, np.float32))
    if waves.shape[1] < window:
        waves = np.pad(waves, ((0, 0), (0, window - waves.shape[1])))
    frames = np.lib.stride_tricks.sliding_window_view(waves, window, axis=1)[:, ::hop]
    filters = mel_filters(rate, window, bands)
    shape = np.hanning(window + 1)[:-1]
    found = np.empty((*frames.shape[:2], bands), np.float32)
    for number, each in enumerate(frames):
        power = np.abs(np.fft.rfft(each * shape, axis=-1)) ** 2
        found[number] = np.log(power @ filters + 1e-6)
    return found


@dataclass(frozen=True)
class Sound(Config):
    """How sounds become pictures, fitted on the training rows and kept with the model."""

    rate: int = option(RATE, "Sampling rate in Hz.", low=1)
    samples: int = option(
        RATE,
        "Length of each sound in samples; longer sounds are cut, shorter ones padded with silence.",
        low=1,
    )
    bands: int = option(64, "Number of mel bands.", low=1)
    mean: float = option(0.0, "Mean of the log-mel values over the training rows.")
    scale: float = option(1.0, "Standard deviation of the log-mel values over the training rows.")

    @classmethod
    def fit(cls, train: Arrays, rate: int) -> Self:
        """From sounds f32[n, samples]."""
        seen = log_mel(train.inputs, rate, **frames_of(rate))
        return cls(rate, train.inputs.shape[1], mean=float(seen.mean()), scale=max(float(seen.std()), 1e-6))

    def __call__(self, arrays: Arrays) -> Arrays:
        """The same sounds as pictures, f32[n, frames, bands, 1], of mean 0 and deviation 1."""
        waves = np.zeros((len(arrays), self.samples), np.float32)
        kept = min(self.samples, arrays.inputs.shape[1])
        waves[:, :kept] = arrays.inputs[:, :kept]
        seen = log_mel(waves, self.rate, bands=self.bands, **frames_of(self.rate))
        return replace(arrays, inputs=((seen - self.mean) / self.scale)[..., None].astype(np.float32))


def frames_of(rate: int) -> dict[str, int]:
    """Frames of 25 ms, one every 10 ms."""
    return {"window": round(0.025 * rate), "hop": round(0.01 * rate)}


@dataclass(frozen=True)
class Spectra(Config):
    """How the sounds of speech become frames; kept with the model."""

    rate: int = option(RATE, "Sampling rate in Hz.", low=1_000, high=192_000)
    bands: int = option(40, "Number of mel bands.", low=1, high=1_000)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """The frames of one sound f32[samples], f32[frames, bands], one every 10 ms.

        Digital silence at the end, with which sounds are padded, is left out; at least one frame remains. What is
        more than 43 dB below the loudest is cut to that, and each band has mean 0 over the sound: neither loudness nor
        the response of a microphone or telephone line remains.
        """
        heard = np.flatnonzero(wave)
        wave = wave[: heard[-1] + 1] if len(heard) else wave[:1]
        # Equal loudness first: the floor inside ``log_mel`` is absolute.
        wave = wave * (0.5 / max(float(np.abs(wave).max()), 1e-4))
        seen = log_mel(wave, self.rate, bands=self.bands, **frames_of(self.rate))[0]
        seen = np.maximum(seen, seen.max() - RANGE)
        return ((seen - seen.mean(0)) / SPREAD).astype(np.float32)
