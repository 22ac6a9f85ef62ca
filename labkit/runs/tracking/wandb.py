"""Metrics for Weights & Biases, offline: ``wandb sync`` uploads the folder."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from labkit.core.errors import DataError
from labkit.core.extras import require
from labkit.i18n import _
from labkit.runs.store import RunInfo
from labkit.runs.tracking.base import TrackedRun, Tracker, records_of, tag_of, writable
from labkit.train.logger import Record

PROJECT, FILES = "labkit", "*.wandb"
#: Metric that is the horizontal axis; W&B's own step only grows, while a test score may belong to an earlier step.
STEP = "step"
#: Seconds for the last messages of a run to reach its file.
FLUSHED = 60.0
#: A file is a log of LevelDB: blocks of so many bytes, after a head of the file; the head of a piece in a block.
BLOCK, HEAD, PIECE = 32768, 7, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class WandbTracker(Tracker):
    """An offline run of the project ``labkit`` in ``target/wandb``; nothing is sent."""

    extra = "wandb"
    default = "."

    def __init__(self, info: RunInfo, settings: dict[str, Any], target: str):
        require(self.extra)
        import wandb

        with writable(Path(target)):
            Path(target).mkdir(parents=True, exist_ok=True)
        quiet = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
        )
        self._run = wandb.init(
            mode="offline", project=PROJECT, name=info.name, id=info.id, dir=target, config=settings, settings=quiet,
            reinit="create_new",
        )  # fmt: skip
        self._run.define_metric("*", step_metric=STEP)
        self.place = str(Path(self._run.dir).parent)

    def write(self, records: Sequence[Record]) -> None:
        for step, group in groupby(records, lambda record: record.step):
            self._run.log({STEP: step, **{tag_of(each): each.value for each in group}})

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
        until = time.monotonic() + FLUSHED  # another process writes the file, and finish does not wait for it
        files = list(Path(self.place).glob(FILES))
        while not all(_is_complete(path) for path in files):
            if time.monotonic() > until:
                raise DataError(_("W&B has not completed {folder!r} within {seconds} seconds."),
                                folder=self.place, seconds=FLUSHED)  # fmt: skip
            time.sleep(0.2)

    @classmethod
    def read(cls, target: str) -> Iterator[TrackedRun]:
        """The offline runs in and below a folder."""
        require(cls.extra)
        files = sorted(Path(target).rglob(FILES)) if Path(target).is_dir() else []
        if not files:
            raise DataError(_("{folder!r} contains no offline runs of W&B (*.wandb)."), folder=target)
        yield from map(_run_in, files)


def _is_complete(path: Path) -> bool:
    """Whether the last message of a run has been written."""
    from wandb.proto.wandb_internal_pb2 import Record as Message

    return any(Message.FromString(data).WhichOneof("record_type") == "exit" for data in _messages(path))


def _run_in(path: Path) -> TrackedRun:
    """The run of a file of offline W&B."""
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record as Message

    points: list[tuple[str, int, float, float]] = []
    run_id, name, finished = path.stem, path.stem, False
    for data in _messages(path):
        try:
            message = Message.FromString(data)
        except DecodeError:
            raise DataError(_("{file} is damaged."), file=path.name) from None
        kind = message.WhichOneof("record_type")
        if kind == "run":
            run_id, name = message.run.run_id, message.run.display_name or message.run.run_id
        elif kind == "exit":
            finished = message.exit.exit_code == 0
        elif kind == "history":
            items = {
                each.key or "/".join(each.nested_key): json.loads(each.value_json)
                for each in message.history.item
            }
            own = items.get("_step", message.history.step.num)
            step, when = items.get(STEP, own), items.get("_timestamp", 0.0)
            points += [
                (tag, int(step), float(value), float(when))
                for tag, value in items.items()
                if tag != STEP and not tag.startswith("_") and _is_number(value)
            ]
    return TrackedRun(run_id, name, records_of(points), finished)


def _is_number(value: object) -> bool:
    """Whether a value of W&B is a number; NaN and infinity are texts in its JSON."""
    if isinstance(value, str):
        return value in ("NaN", "Infinity", "-Infinity")
    return isinstance(value, int | float) and not isinstance(value, bool)


def _messages(path: Path) -> Iterator[bytes]:
    """The messages of a file, each in one piece or several. The last one may be incomplete."""
    with open(path, "rb") as file:
        if file.read(HEAD)[:4] != b":W&B":
            raise DataError(_("{file} is no file of W&B."), file=path.name)
        place, message = HEAD, b""
        while True:
            if BLOCK - place % BLOCK < PIECE:  # no head fits: the rest of the block is empty
                place += len(file.read(BLOCK - place % BLOCK))
            head = file.read(PIECE)
            if len(head) < PIECE:
                return
            length, kind = struct.unpack("<HB", head[4:])
            data = file.read(length)
            if len(data) < length or kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
                return
            place += PIECE + length
            message = data if kind in (_FULL, _FIRST) else message + data
            if kind in (_FULL, _LAST):
                yield message
