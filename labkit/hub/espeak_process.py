"""Speak texts with eSpeak NG, as a process of its own: ``python espeak_process.py < request > sounds``.

The library (GPL-3.0) is loaded here alone. The request is one JSON document; what comes back is, for each line, the
number of samples as an unsigned 32-bit integer, and the samples as int16, 22,050 a second, all little-endian.
"""

from __future__ import annotations

import array
import ctypes
import json
import struct
import sys
from typing import Any

_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000  # espeak_AUDIO_OUTPUT, and an option of espeak_Initialize
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4  # espeak_PARAMETER
_UTF8 = 1
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def main() -> None:
    """Answer the request on standard input."""
    request: dict[str, Any] = json.load(sys.stdin)
    library = ctypes.CDLL(request["library"])
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, request["data"].encode(), _DO_NOT_EXIT)
    if rate != request["rate"]:
        raise SystemExit(f"eSpeak NG speaks at {rate} samples a second, not {request['rate']}")
    heard = array.array("h")

    def keep(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            heard.frombytes(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _Callback(keep)
    library.espeak_SetSynthCallback(callback)
    for line in request["lines"]:
        del heard[:]
        if library.espeak_SetVoiceByName(line["voice"].encode()):
            raise SystemExit(f"eSpeak NG has no voice {line['voice']!r}")
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # of breath
        for parameter, value in ((_RATE, line["speed"]), (_PITCH, line["pitch"]), (_RANGE, line["range"])):
            library.espeak_SetParameter(parameter, int(value), 0)
        text = line["text"].encode() + b"\0"
        library.espeak_Synth(text, len(text), 0, 0, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        if sys.byteorder == "big":
            heard.byteswap()
        sys.stdout.buffer.write(struct.pack("<I", len(heard)) + heard.tobytes())


if __name__ == "__main__":
    main()
