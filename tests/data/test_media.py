"""Folders of pictures and sounds: every kind of file, one shape, what is damaged refused by its row."""

from __future__ import annotations

import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.batching.arrays import stack
from labkit.data.io.audio import as_wave, log_mel, mel_filters, read_wav
from labkit.data.io.media import decode


@pytest.fixture
def pictures(tmp_path):
    """Six pictures of two classes, of different sizes and modes."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    grey = np.arange(48 * 32, dtype=np.uint8).reshape(48, 32)
    Image.fromarray(grey).save(tmp_path / "cat" / "grey.png")
    Image.fromarray(np.full((40, 40, 3), (200, 10, 30), np.uint8)).save(
        tmp_path / "cat" / "colour.jpg", quality=95
    )
    Image.fromarray(np.full((40, 40), 30000, np.uint16)).save(tmp_path / "cat" / "deep.png")
    Image.new("CMYK", (64, 40), (0, 255, 255, 0)).save(tmp_path / "dog" / "print.jpg")
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(tmp_path / "dog" / "clear.png")
    turned = Image.fromarray(np.array([[[255, 0, 0]] * 16] * 8 + [[[0, 0, 255]] * 16] * 8, np.uint8))
    exif = turned.getexif()
    exif[274] = 3  # upside down
    turned.save(tmp_path / "dog" / "turned.jpg", exif=exif, quality=100, subsampling=0)
    return tmp_path


def test_pictures_of_a_folder_come_to_one_size_and_their_modes_to_colours(pictures):
    rows = lk.load(pictures, size=(16, 12))
    assert rows.spec.modality == "image" and rows.spec.classes == ("cat", "dog")
    arrays = stack(rows["train"], rows.spec)
    assert arrays.inputs.shape == (6, 16, 12, 3) and arrays.inputs.dtype == np.uint8
    seen = dict(zip(rows["train"]["file"], arrays.inputs, strict=True))
    np.testing.assert_allclose(seen["cat/colour.jpg"].mean((0, 1)), (200, 10, 30), atol=3)
    assert np.all(seen["cat/deep.png"] == 30000 * 255 // 65535)  # 16 bits are scaled, not clipped
    red, green, blue = seen["dog/print.jpg"].mean((0, 1))
    assert red > 200 and green < 60 and blue < 60  # ink of magenta and yellow
    assert np.all(seen["dog/clear.png"] == 255)  # what is clear is white
    assert seen["dog/turned.jpg"][2, 6, 2] > 200 > 60 > seen["dog/turned.jpg"][2, 6, 0]  # blue is up
    assert rows.report.counts()["counted"]["images resized"] == 1
    assert lk.load(rows.save(pictures.parent / "kept")).fingerprint == rows.fingerprint
    again = lk.load(str(pictures), size=(16, 12))
    assert again.fingerprint == rows.fingerprint and again.source == {
        "source": str(pictures),
        "size": [16, 12],
    }


def test_pictures_of_one_size_keep_it_and_grey_ones_have_one_channel(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "test" / name).mkdir(parents=True)
        for number in range(2):
            values = np.full((10, 20), 40 * number + 7, np.uint8)
            Image.fromarray(values).save(tmp_path / "train" / name / f"{number}.png")
        Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(tmp_path / "test" / name / "other.png")
    rows = lk.load(tmp_path)
    assert rows.counts() == {"train": 4, "test": 2}
    assert stack(rows["train"], rows.spec).inputs[:, 3, 4, 0].tolist() == [7, 47, 7, 47]
    assert stack(rows["test"], rows.spec).shape == (10, 20, 1)


def bomb() -> bytes:
    """A PNG of 50,000 x 50,000 pixels in a few bytes."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">2I5B", 50_000, 50_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", head)
        + part(b"IDAT", zlib.compress(bytes(100)))
        + part(b"IEND", b"")
    )


def test_what_is_no_whole_picture_is_refused_by_its_row(pictures):
    whole = (pictures / "cat" / "grey.png").read_bytes()
    (pictures / "cat" / "aa-cut.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "dog" / "bomb.png").write_bytes(bomb())
    (pictures / "dog" / "empty.png").write_bytes(b"")
    (pictures / "dog" / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"image larger than 50 million pixels \(1\): row 4 .*bomb.png"):
        lk.load(pictures)
    rows = lk.load(pictures, on_bad="skip")
    assert len(rows) == 6 and sum(rows.report.counts()["refused"].values()) == 4
    with pytest.raises(DataError, match="not a complete image"):
        decode(b"\x89PNG\r\n\x1a\n")


def test_arguments_of_folders_are_checked(pictures):
    with pytest.raises(ConfigError, match="size = 0 must be a number of pixels"):
        lk.load(pictures, size=0)
    with pytest.raises(ConfigError, match="not accept size"):
        lk.load([{"text": "a", "label": "b"}], size=3)
    (pictures / "dog" / "bark.wav").write_bytes(b"")
    with pytest.raises(DataError, match="both images and sounds"):
        lk.load(pictures)


def tone(hertz: float, rate: int, seconds: float) -> np.ndarray:
    """A tone in a little noise."""
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)
    return wave + np.random.default_rng(0).normal(0, 0.02, len(wave))


@pytest.fixture
def sounds(tmp_path):
    """High and low tones, of every width and rate that WAV files have."""
    random = np.random.default_rng(0)
    for name, hertz in (("low", 200), ("high", 2000)):
        (tmp_path / name).mkdir()
        for number in range(12):
            wave = tone(hertz * random.uniform(0.8, 1.2), 8000, 0.3)
            wavfile.write(tmp_path / name / f"{number}.wav", 8000, np.rint(wave * 32767).astype(np.int16))
    wavfile.write(tmp_path / "low" / "float.wav", 44_100, tone(200, 44_100, 0.3).astype(np.float32))
    eight = np.rint(np.stack([tone(2000, 16_000, 0.3)] * 8, 1) * 127 + 128).astype(np.uint8)
    wavfile.write(tmp_path / "high" / "eight.wav", 16_000, eight)
    return tmp_path


@pytest.mark.parametrize("given", [44_100, 96_001, 999_983])
def test_any_rate_is_resampled_with_a_filter_of_bounded_length(given):
    clean = lambda rate: 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * 0.2)) / rate)  # noqa: E731
    begin = time.perf_counter()
    wave = as_wave(clean(given), given, 16_000)
    assert time.perf_counter() - begin < 20
    np.testing.assert_allclose(wave[400:2800], clean(16_000)[400:2800], atol=0.01)


def test_sounds_come_to_one_rate_and_length(sounds):
    rows = lk.load(sounds, rate=8000, seconds=0.25)
    assert rows.spec.modality == "audio" and rows.spec.rate == 8000
    arrays = stack(rows["train"], rows.spec)
    assert arrays.inputs.shape == (26, 2000)
    for name in ("low/float.wav", "low/3.wav", "high/eight.wav"):
        wave = arrays.inputs[rows["train"]["file"].index(name)]
        hertz = np.fft.rfftfreq(2000, 1 / 8000)[np.abs(np.fft.rfft(wave)).argmax()]
        assert abs(hertz - (200 if name.startswith("low") else 2000)) < (5 if "3" not in name else 50)
        assert 0.4 < np.abs(wave).max() < 0.65
    assert rows.report.counts()["counted"]["sound cut"] == 26


def test_sounds_that_cannot_be_used_are_refused_by_their_row(sounds):
    (sounds / "low" / "cut.wav").write_bytes((sounds / "low" / "1.wav").read_bytes()[:30])
    wavfile.write(sounds / "low" / "nan.wav", 8000, np.full(100, np.nan, np.float32))
    wavfile.write(sounds / "low" / "none.wav", 8000, np.zeros(0, np.int16))
    with pytest.raises(DataError, match=r"sound without samples \(1\)"):
        lk.load(sounds, rate=8000)
    rows = lk.load(sounds, rate=8000, on_bad="skip")
    assert len(rows) == 26 and sum(rows.report.counts()["refused"].values()) == 3
    with pytest.raises(DataError, match="not a complete WAV file"):
        read_wav(sounds / "low" / "cut.wav")
    np.testing.assert_allclose(as_wave(np.array([0, 255, 128], np.uint8), 10, 10), [-1, 127 / 128, 0])


def chunk(name: bytes, data: bytes, size: int | None = None, pad: bool = True) -> bytes:
    return (
        name + struct.pack("<I", len(data) if size is None else size) + data + b"\0" * (pad and len(data) % 2)
    )


def wav(data: bytes, bits: int = 16, kind: int = 1, channels: int = 1, *, size: int | None = None,
        before: bytes = b"", after: bytes = b"", extensible: bool = False) -> bytes:  # fmt: skip
    """A WAV file of 8,000 samples a second, its chunks as they are given."""
    width = -(-bits // 8) * channels
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, 8000, 8000 * width, width, bits)
    if extensible:
        guid = bytes.fromhex("000000001000800000aa00389b71")
        form += struct.pack("<HHIH", 22, bits, 0, kind) + guid
    body = b"WAVE" + chunk(b"fmt ", form) + before + chunk(b"data", data, size) + after
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


VALUES = np.array([0.0, 0.5, -0.5, -1.0, 0.25])
SIXTEEN = (VALUES * 32768).astype("<i2").tobytes()
LIST = chunk(b"LIST", b"INFOISFT\x0e\0\0\0Lavf60.16.100\0")
WAVES = {
    "8 bits": wav((VALUES * 128 + 128).astype(np.uint8).tobytes(), 8),
    "16 bits": wav(SIXTEEN),
    "24 bits": wav(b"".join(int(v * (1 << 23)).to_bytes(3, "little", signed=True) for v in VALUES), 24),
    "24 bits, extensible": wav(
        b"".join(int(v * (1 << 23)).to_bytes(3, "little", signed=True) for v in VALUES), 24, extensible=True
    ),
    "32 bits": wav((VALUES * (1 << 31)).astype("<i4").tobytes(), 32),
    "float32": wav(VALUES.astype("<f4").tobytes(), 32, 3),
    "float32, extensible": wav(VALUES.astype("<f4").tobytes(), 32, 3, extensible=True),
    "float64": wav(VALUES.astype("<f8").tobytes(), 64, 3),
    "two channels": wav(np.repeat(np.frombuffer(SIXTEEN, "<i2"), 2).tobytes(), channels=2),
    "chunks around it": wav(SIXTEEN, before=LIST + chunk(b"fact", b"\5\0\0\0"), after=LIST),
    "an odd chunk": wav(SIXTEEN, before=chunk(b"bext", b"abc")),
    "an odd chunk without padding": wav(SIXTEEN, before=chunk(b"bext", b"abc", pad=False)),
    "a stream of ffmpeg": wav(SIXTEEN, size=0xFFFFFFFF, before=LIST),
    "a stream without a length": wav(SIXTEEN, size=0),
    "a byte too many": wav(SIXTEEN + b"\1", size=len(SIXTEEN) + 1),
}


@pytest.mark.parametrize("name", WAVES)
def test_heads_of_wav_files_as_programs_write_them(tmp_path, name):
    (tmp_path / "x.wav").write_bytes(WAVES[name])
    np.testing.assert_allclose(read_wav(tmp_path / "x.wav", 8000), VALUES, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (wav(b"\xff" * 9, 8, 7), "audio encoded as µ-law, not PCM"),
        (wav(b"\xff" * 9, 8, 6, extensible=True), "audio encoded as A-law, not PCM"),
        (wav(b"\xff" * 9, 4, 17), "audio encoded as IMA ADPCM, not PCM"),
        (wav(b"\xff" * 9, 8, 1234), "audio encoded as format 1234, not PCM"),
        (wav(b""), "sound without samples"),
        (wav(b"", after=LIST), "sound without samples"),
        (wav(SIXTEEN, size=1000), "not a complete WAV file"),
        (wav(SIXTEEN)[:20], "not a complete WAV file"),
        (wav(SIXTEEN, channels=0), "not a complete WAV file"),
        (b"ID3\4" + bytes(99), "not a complete WAV file"),
        (b"", "not a complete WAV file"),
    ],
)
def test_wav_files_that_are_refused(tmp_path, content, says):
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_wav(tmp_path / "x.wav")


def test_log_mel_is_what_its_formula_says():
    rate, window, hop, bands = 8000, 200, 80, 12
    wave = np.random.default_rng(1).normal(size=(1, 1000)).astype(np.float32)
    found = log_mel(wave, rate, window=window, hop=hop, bands=bands)
    assert found.shape == (1, 1 + (1000 - window) // hop, bands)
    n = np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(window // 2 + 1), n) / window)
    power = np.abs(waves @ (wave[0, 3 * hop : 3 * hop + window] * hann)) ** 2
    np.testing.assert_allclose(
        found[0, 3], np.log(power @ mel_filters(rate, window, bands) + 1e-6), rtol=1e-4
    )
    filters = mel_filters(rate, window, bands)
    centre = np.fft.rfftfreq(window, 1 / rate)[filters.argmax(0)]
    assert np.all(np.diff(centre) > 0) and filters.max() <= 1 and filters.min() == 0
    low, high = (np.float32([tone(f, rate, 0.2)]) for f in (300, 3000))
    assert log_mel(low, rate).mean(1).argmax() < log_mel(high, rate).mean(1).argmax()


def test_a_network_for_pictures_learns_sounds(sounds, tmp_path):
    rows = lk.load(sounds, rate=8000, seconds=0.2).split(validation=0.2, test=0.2, seed=0)
    run = lk.fit(rows, lk.models["mlp"](widths=(16,)), folder=tmp_path / "lab", background=False, epochs=25,
                 batch_size=8, learning_rate=3e-3, keep="last")  # fmt: skip
    report = run.evaluate()
    assert report.scores["accuracy"] == 1 and "logistic regression" in report.baselines
    out = run.export(tmp_path / "out")
    answers = lk.Predictor(out).predict([sounds / "low" / "float.wav", tone(2000, 8000, 0.5)])
    assert [answer.label for answer in answers] == ["low", "high"]
