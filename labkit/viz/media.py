"""Images and sounds as data URLs."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib

import numpy as np

from labkit.core.html import Html
from labkit.core.text import escape, visible


def picture(pixels: np.ndarray, label: str, size: int = 72) -> Html:
    """A picture as an ``<img>`` of ``size`` screen pixels: grey [h, w] or [h, w, 1], or colours [h, w, 3].

    uint8 with a greatest value of 16 or less, as of the digits, is spread over the whole range; floats too.
    """
    name = escape(visible(label, 80))
    return Html(
        f'<img src="{address(pixels)}" alt="{name}" title="{name}" width="{size}" height="{size}" class="lk-picture"/>'
    )


def address(pixels: np.ndarray) -> str:
    """The address of a picture that holds it whole; pixels as of :func:`png`."""
    return png_address(_spread(pixels))


def png_address(pixels: np.ndarray) -> str:
    """The same of uint8 as they are."""
    return "data:image/png;base64," + base64.b64encode(_png(pixels)).decode()


def gallery(pictures: list[tuple[np.ndarray, str]], size: int = 72) -> Html:
    """Pictures in rows, each with its label below."""
    each = "".join(
        f"<figure>{picture(pixels, label, size)}<figcaption>{escape(visible(label, 40))}</figcaption></figure>"
        for pixels, label in pictures
    )
    return Html(f'<div class="lk-gallery">{each}</div>')


def sound(samples: np.ndarray, rate: int, label: str) -> Html:
    """A sound with buttons to hear it: samples [n] from -1 to 1, ``rate`` a second."""
    address = "data:audio/wav;base64," + base64.b64encode(wav(samples, rate)).decode()
    return Html(
        f'<audio controls preload="none" src="{address}" aria-label="{escape(visible(label, 80))}"></audio>'
    )


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of grey [h, w], [h, w, 1] or coloured [h, w, 3] pixels, or of those with opacity [h, w, 4]."""
    return _png(_spread(pixels))


def _spread(pixels: np.ndarray) -> np.ndarray:
    values = np.asarray(pixels)
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if values.dtype != np.uint8 or high <= 16:
        values = ((values - min(low, 0.0)) * (255.0 / max(high - min(low, 0.0), 1e-9))).astype(np.uint8)
    return values


def _png(values: np.ndarray) -> bytes:
    tall, wide = values.shape[:2]
    lines = np.zeros((tall, 1 + values[0].size), np.uint8)  # every line begins with its filter, none
    lines[:, 1:] = values.reshape(tall, -1)
    colour = 0 if values.ndim == 2 else {3: 2, 4: 6}[values.shape[-1]]
    head = struct.pack(">2I5B", wide, tall, 8, colour, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def wav(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file of one channel, 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()
