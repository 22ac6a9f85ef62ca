"""The data path measured: tokenise and pack against datasets and transformers, and memory against the size of a table.

``python datapath.py --peer-python PYTHON`` prints both as JSON; PYTHON has datasets, transformers and torch.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TEXTS = 100_000
BATCH = 32
MAX_LENGTH = 128


def tokenise_and_pack(peer_python: str, texts: int = TEXTS, rounds: int = 3) -> dict[str, Any]:
    """Texts per second from strings to batches, labkit ÷ ``datasets.map`` with a fast tokenizer and padding collator.

    Each round runs both, a process each, with the order turned around every time. Both read the same Arrow table, make
    the same tokens with all cores, write what they make to the disk, and build every batch of one epoch. What is timed
    begins after the imports and after the tokenizer has been read.
    """
    from labkit.core.cache import cache_root

    work = Path(tempfile.mkdtemp(prefix="labkit-datapath-"))
    try:
        table = _arrow(work / "texts.arrow", texts)
        folder = cache_root() / "samples" / "minilm-l6"
        ours = [sys.executable, str(Path(__file__).resolve()), "--tokenise", str(table), str(folder)]
        peer = [
            peer_python,
            str(HERE / "datapath_peer.py"),
            str(table),
            str(folder),
            str(BATCH),
            str(MAX_LENGTH),
        ]
        pairs = []
        for number in range(rounds):
            order = (ours, peer) if number % 2 == 0 else (peer, ours)
            told = {command[0] == peer_python: _told(command, work / f"cache{number}{command[0] == peer_python}")
                    for command in order}  # fmt: skip
            pairs.append((told[False], told[True]))
        if pairs[0][0]["tokens"] != pairs[0][1]["tokens"]:
            raise AssertionError(
                f"labkit made {pairs[0][0]['tokens']} tokens, the peer {pairs[0][1]['tokens']}."
            )
        return {
            "ratio": round(statistics.median(peer["seconds"] / mine["seconds"] for mine, peer in pairs), 3),
            "texts_per_second": round(texts / statistics.median(mine["seconds"] for mine, _ in pairs)),
            "peer_texts_per_second": round(texts / statistics.median(peer["seconds"] for _, peer in pairs)),
            "labkit": [mine for mine, _ in pairs],
            "peer": [peer for _, peer in pairs],
        }
    finally:
        shutil.rmtree(work)


def memory(small: int = 200, large: int = 2000, sentences: int = 10, kind: str = "csv") -> dict[str, Any]:
    """Peak memory of ``load → split → encode → batches``, a large table ÷ a small one, a process for each.

    ``rss`` is what the process had in memory at most, pages of mapped files included. It grows with the table by
    nature, for the table and its tokens are mapped, and nobody else asks for the memory: the system takes such pages
    back when it needs them. ``anonymous`` is without them: what the process would not give back, and what must fit.
    ``ratio`` is of ``anonymous``; that of ``rss`` is reported as well.

    Args:
        small, large: sizes of the tables in megabytes.
        sentences: sentences of a text; a sentence has about 110 characters.
        kind: ``"csv"`` or ``"parquet"``.
    """
    work = Path(tempfile.mkdtemp(prefix="labkit-datapath-"))
    try:
        told = {}
        for name, size in (("small", small), ("large", large)):
            path = _table(work / f"{name}.{kind}", size, sentences)
            command = [sys.executable, str(Path(__file__).resolve()), "--preprocess", str(path)]
            told[name] = {"megabytes": size} | _told(command, work / "cache")
            path.unlink()
            shutil.rmtree(work / "cache")
        peaks = {of: round(told["large"][of] / told["small"][of], 3) for of in ("anonymous", "rss")}
        return {
            "ratio": peaks["anonymous"],
            "rss_ratio": peaks["rss"],
            "sentences": sentences,
            "kind": kind,
            **told,
        }
    finally:
        shutil.rmtree(work)


def _told(command: list[str], cache: Path) -> dict[str, Any]:
    """What a process prints last, as JSON; it keeps its caches in a folder of its own."""
    env = {**os.environ, "LABKIT_CACHE": str(cache), "HF_DATASETS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


# --- tables of real sentences, varied so that no two are equal ------------------------------------------------------


class _Sentences:
    """Sentences of movie-reviews with three words exchanged, the same every time."""

    def __init__(self) -> None:
        import labkit as lk

        self.known = [text.split() for text in lk.load("movie-reviews")["train"]["text"]]
        self.words = [word for sentence in self.known for word in sentence]
        self.random = random.Random(0)

    def __call__(self) -> str:
        sentence = list(self.random.choice(self.known))
        for _ in range(3):
            sentence[self.random.randrange(len(sentence))] = self.random.choice(self.words)
        return " ".join(sentence)


def _arrow(path: Path, count: int) -> Path:
    import pyarrow as pa

    sentence = _Sentences()
    table = pa.table(
        {"text": [sentence() for _ in range(count)], "label": [number % 2 for number in range(count)]}
    )
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)
    return path


def _table(path: Path, megabytes: int, sentences: int) -> Path:
    """A CSV or Parquet file of about this size; a megabyte of texts is made and its words turned around for others."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    sentence, written, number = _Sentences(), 0, 0
    base = [sentence() for _ in range(20_000)]
    schema = pa.schema([("text", pa.string()), ("label", pa.string())])
    writer: Any = pa.csv.CSVWriter(path, schema) if path.suffix == ".csv" else pq.ParquetWriter(path, schema)
    with writer:
        while written < megabytes * 1_000_000:
            texts = []
            for _ in range(10_000):
                texts.append(" ".join(sentence.random.choices(base, k=sentences)) + f" {number}")
                number += 1
            labels = [("bad", "good")[sentence.random.random() < 0.5] for _ in texts]
            writer.write_table(pa.table([texts, labels], schema=schema))
            written += sum(map(len, texts))
    return path


# --- what the processes do ------------------------------------------------------------------------------------------


def _tokenise(table: str, folder: str) -> dict[str, Any]:
    from datasets import Dataset

    from labkit.data.batching.packing import PackedBatches, choose
    from labkit.data.text.encode import encode
    from labkit.data.text.tokenizer import Tokenizer

    dataset, tokenizer = Dataset.from_file(table), Tokenizer.load(folder)
    start = time.perf_counter()
    tokens = encode(dataset, tokenizer, MAX_LENGTH)
    encoded = time.perf_counter() - start
    layout = choose(tokens.lengths, MAX_LENGTH, BATCH)
    batches = PackedBatches(tokens, BATCH, layout)
    count = sum(int(batch["weight"].sum()) for batch in batches)
    seconds = time.perf_counter() - start
    if count != len(dataset):
        raise AssertionError(f"{count} examples in the batches of {len(dataset)}.")
    return {"seconds": seconds, "tokenise": encoded, "tokens": len(tokens.ids), "layout": layout.reason}


def _preprocess(path: str) -> dict[str, Any]:
    import labkit as lk
    from labkit.data.batching.buckets import BucketBatches
    from labkit.data.batching.packing import PackedBatches, choose
    from labkit.data.text.encode import encode

    watch, seconds = _Watch(), {}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        seconds[name], clock = round(time.perf_counter() - clock, 1), time.perf_counter()
        watch.at(name)

    rows = lk.load(path)
    lap("load")
    rows = rows.split()
    lap("split")
    tokenizer = lk.Tokenizer.train(rows["train"].select(range(5000))["text"], vocab_size=8000)
    lap("tokenizer")
    tokens = {name: encode(rows[name], tokenizer, MAX_LENGTH) for name in rows.splits}
    lap("encode")
    for part in tokens.values():
        layout = choose(part.lengths, MAX_LENGTH, BATCH)
        maker = (
            PackedBatches(part, BATCH, layout) if layout.packed else BucketBatches(part, BATCH, layout.widths)
        )
        for _ in maker:
            pass
    lap("batches")
    return {**watch.end(), "rows": len(rows), "seconds": seconds}


class _Watch:
    """Looks at the memory of this process a hundred times a second."""

    def __init__(self) -> None:
        self.peak = {"rss": 0.0, "anonymous": 0.0}
        self.stages: dict[str, dict[str, float]] = {}
        self.stage = dict(self.peak)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.over.wait(0.01):
            lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            for name, line in (("rss", "VmRSS"), ("anonymous", "RssAnon")):
                value = int(lines[line].split()[0]) / 1000
                self.peak[name] = max(self.peak[name], value)
                self.stage[name] = max(self.stage[name], value)

    def at(self, name: str) -> None:
        self.stages[name] = {key: round(value) for key, value in self.stage.items()}
        self.stage = dict.fromkeys(self.stage, 0.0)

    def end(self) -> dict[str, Any]:
        import resource

        self.over.set()
        self.thread.join()
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        return {"rss": round(max(highest, self.peak["rss"])), "anonymous": round(self.peak["anonymous"]),
                "stages": self.stages}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", help="an interpreter with datasets, transformers and torch")
    parser.add_argument("--small", type=int, default=200, help="megabytes")
    parser.add_argument("--large", type=int, default=2000, help="megabytes")
    parser.add_argument("--sentences", type=int, default=10, help="sentences of a text in the tables")
    parser.add_argument("--kind", choices=("csv", "parquet"), default="csv")
    parser.add_argument("--tokenise", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--preprocess", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.tokenise:
        print(json.dumps(_tokenise(*asked.tokenise)))
    elif asked.preprocess:
        print(json.dumps(_preprocess(asked.preprocess)))
    else:
        if asked.peer_python:
            print(json.dumps({"tokenise_and_pack": tokenise_and_pack(asked.peer_python)}, indent=1))
        print(json.dumps({"memory": memory(asked.small, asked.large, asked.sentences, asked.kind)}, indent=1))


if __name__ == "__main__":
    main()
