"""Metrics as event files of TensorBoard, written and read with tensorboardX."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from labkit.core.errors import DataError
from labkit.core.extras import require
from labkit.i18n import _
from labkit.runs.store import RunInfo
from labkit.runs.tracking.base import TrackedRun, Tracker, folder_name, records_of, tag_of, writable
from labkit.train.logger import Record

FILES = "*.tfevents.*"
#: Kind of array (DataType of TensorFlow) → the format of its only number, and the field that may hold it instead.
_NUMBERS = {1: ("<f", "float_val"), 2: ("<d", "double_val"), 3: ("<i", "int_val"), 9: ("<q", "int64_val")}


class TensorBoardTracker(Tracker):
    """An event file in ``target/NAME-ID``. TensorBoard keeps values as float32."""

    extra = "tensorboard"
    default = "tensorboard"

    def __init__(self, info: RunInfo, settings: dict[str, Any], target: str):
        require(self.extra)
        from tensorboardX.event_file_writer import EventsWriter

        folder = Path(target) / folder_name(info)
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for earlier in folder.glob(FILES):  # an earlier export of this run
                earlier.unlink()
        self.place = str(folder)
        self._file = EventsWriter(str(folder / "events"))

    def write(self, records: Sequence[Record]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        for each in records:
            value = Summary.Value(tag=tag_of(each), simple_value=_float32(each.value))
            self._file.write_event(Event(wall_time=each.time, step=each.step, summary=Summary(value=[value])))
        self._file.flush()

    def close(self, finished: bool) -> None:
        self._file.close()

    @classmethod
    def read(cls, target: str) -> Iterator[TrackedRun]:
        """A run for each folder with event files, named by its path below ``target``."""
        require(cls.extra)
        root = Path(target)
        folders = sorted({path.parent for path in root.rglob(FILES)} if root.is_dir() else ())
        if not folders:
            raise DataError(
                _("{folder!r} contains no event files of TensorBoard (*.tfevents.*)."), folder=target
            )
        for folder in folders:
            below = folder.relative_to(root).as_posix()
            points = [point for path in sorted(folder.glob(FILES)) for point in _points(path)]
            yield TrackedRun(below, root.resolve().name if below == "." else below, records_of(points))


def _float32(value: float) -> float:
    """A value that fits in float32: beyond its range it is infinite."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _points(path: Path) -> Iterator[tuple[str, int, float, float]]:
    """Tag, step, value and time of every scalar in an event file."""
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event

    for data in _messages(path):
        try:
            event = Event.FromString(data)
        except DecodeError:
            raise DataError(_("{file} is damaged."), file=path.name) from None
        for value in event.summary.value:
            kind = value.WhichOneof("value")
            if kind == "simple_value":
                yield value.tag, event.step, float(value.simple_value), event.wall_time
            elif kind == "tensor" and (number := _scalar(value.tensor)) is not None:
                yield value.tag, event.step, number, event.wall_time


def _messages(path: Path) -> Iterator[bytes]:
    """The messages of a file of TFRecords: a length (u64), its checksum, the bytes, their checksum. The last one may
    be incomplete, as the file may still be written."""
    from tensorboardX.crc32c import crc32c

    def wrong(data: bytes, seal: bytes) -> bool:
        crc = crc32c(data)
        masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
        return struct.unpack("<I", seal)[0] != masked

    with open(path, "rb") as file:
        while len(head := file.read(12)) == 12:
            if wrong(head[:8], head[8:]):
                raise DataError(_("{file} is damaged."), file=path.name)
            (length,) = struct.unpack("<Q", head[:8])
            data, seal = file.read(length), file.read(4)
            if len(data) < length or len(seal) < 4:
                return
            if wrong(data, seal):
                raise DataError(_("{file} is damaged."), file=path.name)
            yield data


def _scalar(tensor: Any) -> float | None:
    """The number of a tensor without dimensions; None for any other."""
    if tensor.tensor_shape.dim or tensor.dtype not in _NUMBERS:
        return None
    form, name = _NUMBERS[tensor.dtype]
    if len(tensor.tensor_content) == struct.calcsize(form):
        return float(struct.unpack(form, tensor.tensor_content)[0])
    known = {field.name: values for field, values in tensor.ListFields()}
    return float(known[name][0]) if len(known.get(name, ())) == 1 else None
