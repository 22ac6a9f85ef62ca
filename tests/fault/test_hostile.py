"""Files, archives, names and addresses that somebody made on purpose: none gets in, none gets out."""

from __future__ import annotations

import http.client
import http.server
import io
import json
import os
import pickle
import socket
import stat
import struct
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import labkit as lk
from labkit.core.cache import cache_dir
from labkit.core.errors import ConfigError, DataError, LabkitError, SampleError, WeightsError
from labkit.core.safety import UNSAFE, check_safetensors, kind_of, public_address
from labkit.hub import web
from labkit.hub.download import Member, extract
from labkit.models.weights import Tensors
from labkit.runs.handle import RunHandle
from labkit.runs.store import Store


class Canary:
    """What a pickle of this does when it is opened: it leaves a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def hostile_files(canary: Path) -> dict[str, bytes]:
    """Name → content of files that run code for whoever opens them with the library of their name."""
    made = {f"protocol-{n}": pickle.dumps(Canary(canary), protocol=n) for n in range(6)}
    array = io.BytesIO()
    np.save(array, np.array([Canary(canary)], object), allow_pickle=True)
    arrays = io.BytesIO()
    np.savez(arrays, weights=np.array([Canary(canary)], object))
    torch = io.BytesIO()
    with zipfile.ZipFile(torch, "w") as file:
        file.writestr("archive/data.pkl", made["protocol-2"])
    return {**made, "numpy": array.getvalue(), "npz": arrays.getvalue(), "torch": torch.getvalue()}


@pytest.mark.parametrize(
    "suffix", [*sorted(UNSAFE), ".safetensors", ".csv", ".jsonl", ".parquet", ".txt", ""]
)
def test_hostile_pickles_never_run_whatever_they_are_called(tmp_path, suffix):
    canary = tmp_path / "canary"
    for name, content in hostile_files(canary).items():
        for folder, file in (("weights", f"model{suffix}"), ("data", f"train{suffix}")):
            place = tmp_path / folder / name
            place.mkdir(parents=True)
            (place / file).write_bytes(content)
            with pytest.raises(LabkitError):
                Tensors(place)
            for source in (place, place / file):
                with pytest.raises(LabkitError):
                    lk.load(str(source), text="text")
                with pytest.raises(LabkitError):
                    lk.models["bert"](weights=str(source))
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists()  # the files would have done it


def test_hostile_first_bytes_are_told_apart():
    for name, content in hostile_files(Path("x")).items():
        assert kind_of(content[:64]) in (
            "a pickle",
            "a NumPy file",
            "a ZIP archive",
        ), name
    for text in ("(good film)\nbad", "text,label\na,b", "cat\ndog\n", '{"text": "x"}'):
        assert kind_of(text.encode(), text=True) is None


# --- safetensors ----------------------------------------------------------------------------------------------------


def safetensors(header: dict | bytes, data: bytes = bytes(16), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape=(4,), begin=0, end=16, dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


LIES = {
    "empty": b"",
    "length of a petabyte": safetensors({"a": tensor()}, length=1 << 50),
    "negative length": b"\xff" * 16,
    "header of 200 MB": safetensors(b" " * 0 + b"{}" + b" " * (33 << 20)),
    "no JSON": safetensors(b"not json"),
    "a list": safetensors(b"[1, 2]"),
    "nested without end": safetensors(b"[" * 100_000),
    "shape larger than the data": safetensors({"a": tensor(shape=(1 << 40,))}),
    "shape that overflows": safetensors({"a": tensor(shape=(1 << 62, 4))}),
    "negative shape": safetensors({"a": tensor(shape=(-4,))}),
    "shape of text": safetensors({"a": tensor(shape=("4",))}),
    "shape of true": safetensors({"a": tensor(shape=(True, 4))}),
    "too many dimensions": safetensors({"a": tensor(shape=(1,) * 17)}, bytes(4)),
    "beyond the end": safetensors({"a": tensor(shape=(8,), end=32)}),
    "overlap": safetensors({"a": tensor(), "b": tensor()}),
    "gap": safetensors({"a": tensor(begin=4, end=20)}, bytes(20)),
    "bytes that trail": safetensors({"a": tensor()}, bytes(17)),
    "end before begin": safetensors({"a": tensor(shape=(0,), begin=16, end=0)}),
    "no dtype": safetensors({"a": {"shape": [4], "data_offsets": [0, 16]}}),
    "unknown dtype": safetensors({"a": tensor(dtype="PICKLE")}),
    "100,001 tensors": safetensors({str(n): tensor(shape=(0,), end=0) for n in range(100_001)}, b""),
}


@pytest.mark.parametrize("name", LIES)
def test_hostile_safetensors_are_refused_before_they_are_read(tmp_path, name):
    (tmp_path / "model.safetensors").write_bytes(LIES[name])
    with pytest.raises(
        WeightsError, match=r"damaged|at most|invalid shape|not match its shape|which are not"
    ):
        Tensors(tmp_path)


def test_honest_safetensors_pass(tmp_path):
    arrays = {"a": np.ones((2, 3), np.float32), "b": np.zeros((0, 4), np.float16), "c": np.array(3, np.int64)}
    save_file(arrays, tmp_path / "model.safetensors", metadata={"format": "pt"})
    check_safetensors(tmp_path / "model.safetensors")
    assert {name: array.shape for name, array in Tensors(tmp_path).items()} == {
        n: a.shape for n, a in arrays.items()
    }


def test_a_flipped_bit_in_a_kept_model_is_found(finished, tmp_path):
    import shutil

    model = tmp_path / "model"
    shutil.copytree(finished.info.folder / "model", model)
    lk.Predictor(model)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        data = bytearray((model / name).read_bytes())
        data[len(data) // 2] ^= 1
        whole = (model / name).read_bytes()
        (model / name).write_bytes(data)
        with pytest.raises(
            WeightsError, match=rf"is damaged: {name} has a different SHA-256.*labkit-manifest.json"
        ):
            lk.Predictor(model)
        (model / name).write_bytes(whole)
    (model / "labkit-manifest.json").unlink()  # of another's model: nothing to compare with
    lk.Predictor(model)


# --- archives and places --------------------------------------------------------------------------------------------

ESCAPES = [
    "../x", "../../x", "a/../../x", "/etc/x", "//x", "a/b/../../../x", "..", "./../x", "a/./../../x", "link/x", "/",
    "~/../../x", "a\0b", "..//x", "x/../../y",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ESCAPES)))
def test_hostile_members_stay_inside(tmp_path, number):
    name, into = ESCAPES[number], tmp_path / "in" / "to"
    into.mkdir(parents=True)
    (into / "link").symlink_to(tmp_path)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("member", b"hostile")
    with pytest.raises(SampleError, match="would be written outside"):
        extract(archive, {name: "member"}, {name: Member("0" * 64, 7)}, into)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "in"] and list(into.iterdir()) == [
        into / "link"
    ]


def special(kind: bytes, target: str = "/etc/passwd") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        entry = tarfile.TarInfo("member")
        entry.type, entry.linkname = kind, target
        tar.addfile(entry)
    return made.getvalue()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_hostile_links_and_devices_in_archives_are_passed_over(tmp_path, kind):
    (tmp_path / "a.tar").write_bytes(special(kind))
    extract(tmp_path / "a.tar", {"x": "member"}, {}, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_hostile_bombs_end_at_the_size_that_is_known(tmp_path):
    bomb = tmp_path / "a.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("member", bytes(50_000_000))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(SampleError, match="larger than the expected 1,000 bytes"):
        extract(bomb, {"x": "member"}, {"x": Member("0" * 64, 1000)}, tmp_path / "into")
    assert (tmp_path / "into" / "x").stat().st_size <= 2 << 20


# --- names ----------------------------------------------------------------------------------------------------------

NAMES = [
    "", ".", "..", "../x", "../../x", "/x", "//x", "\\x", "..\\x", "C:\\x", "C:x", "a/b", "a\\b", "~", "~root",
    "CON", "con", "con.txt", "PRN", "aux", "NUL", "nul.tar.gz", "com1", "LPT9", "a\0b", "a\nb", "a\rb", "a\tb",
    "\x1b[31m", "a" * 65, "a" * 300, "😀", "é", "ä", "名字", "a b", " a", "a ", "a.", "-a", "-rf", "--help", ".hidden",
    "_a", "$HOME", "$(id)", "`id`", "a;b", "a|b", "a&b", "a>b", "a*b", "a?b", "'", '"', "%2e%2e", "%00", "A", "Run",
    "\u202ea", "a\u200b", "\ud800", "a:b", "a@b", "a,b",
]  # fmt: skip


def test_hostile_names_are_no_folders(tmp_path):
    store = Store(tmp_path / "lab")
    assert len(NAMES) >= 60
    for name in NAMES:
        with pytest.raises(ConfigError, match="is not a valid run id"):
            store.create(name, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["lab"]
    assert all(path.name.startswith("runs.sqlite") for path in (tmp_path / "lab").iterdir())


def test_a_runs_title_may_be_any_text_and_is_never_a_place(finished, reviews, tmp_path):
    store, refused = Store(tmp_path / "lab"), 0
    for name in filter(None, NAMES):
        try:
            run = RunHandle.create(store, finished.experiment.replace(name=name), reviews)
        except ConfigError as error:
            refused += 1
            assert "control character" in str(error) or "the maximum is 120" in str(error)
            continue
        assert run.info.folder.parent == store.folder and run.info.name == name
        assert run.info.folder.name[:8].isdigit()
    assert refused == 8 and [path.name for path in tmp_path.iterdir()] == ["lab"]


# --- addresses ------------------------------------------------------------------------------------------------------

INSIDE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "192.0.2.1",
    "198.18.0.1", "240.0.0.1", "not an address", "",
]  # fmt: skip


def test_hostile_addresses_are_private():
    assert [address for address in INSIDE if public_address(address)] == []
    for address in ("1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        assert public_address(address), address


TARGETS = [
    "http://127.0.0.1/", "https://127.0.0.1/x.csv", "https://[::1]/x.csv", "https://localhost/x.csv", "https://0/x.csv",
    "https://0x7f000001/x.csv", "https://2130706433/x.csv", "https://127.1/x.csv", "https://017700000001/x.csv",
    "https://169.254.169.254/latest/meta-data/", "https://[::ffff:127.0.0.1]/x.csv", "file:///etc/passwd",
    "ftp://example.org/x.csv", "gopher://127.0.0.1:70/", "https://user:word@example.org/x.csv", "https:///x.csv",
    "https://exa mple.org/x.csv", "https://example.org/\r\nHost: evil", "https://[fe80::1]/x.csv",
]  # fmt: skip


@pytest.mark.parametrize("address", TARGETS)
def test_hostile_targets_are_not_spoken_to(address, monkeypatch):
    def forbidden(*_: object, **__: object):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket, "create_connection", forbidden)
    with pytest.raises(DataError, match=r"only URLs of the form https|this machine or a private network"):
        lk.load(address)


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        where = {
            "/away": "https://inside.test/secret",
            "/round": "/round",
            "/plain": "http://open.test/x.csv",
        }
        if self.path in where:
            self.send_response(302)
            self.send_header("Location", where[self.path])
            self.end_headers()
            return
        self.send_response(200 if ".csv" in self.path else 404)
        self.end_headers()
        self.wfile.write(b"text,label\ngood,a\nbad,b\n" * (40_000 if "big" in self.path else 1))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def internet(monkeypatch):
    """A server here that passes for an open one, ``open.test``; ``inside.test`` has a private address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = {
        "open.test": ["93.184.216.34"],
        "inside.test": ["10.0.0.1"],
        "both.test": ["93.184.216.34", "127.0.0.1"],
    }
    asked: list[str] = []

    def resolve(host: str, port: int, **_: object):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in names[host]]

    def connect(self) -> None:  # the certificate is another matter: what is tested is to whom it goes
        assert self.pinned == "93.184.216.34"
        self.sock = socket.socket()
        self.sock.connect(server.server_address)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(web.PinnedConnection, "connect", connect)
    monkeypatch.delenv("LABKIT_OFFLINE", raising=False)
    yield asked
    server.shutdown()
    server.server_close()


def test_a_table_behind_an_address_is_read_and_its_name_is_asked_for_once(internet):
    rows = lk.load("https://open.test/reviews.csv?x=1")
    assert rows["train"]["text"] == ["good", "bad"] and internet == ["open.test"]
    assert rows.source["source"] == "https://open.test/reviews.csv?x=1"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://open.test/away", r"resolves to 10\.0\.0\.1, which is this machine or a private network"),
        ("https://open.test/plain", "only URLs of the form https"),
        ("https://open.test/round", "redirected more than 5 times"),
        ("https://both.test/x.csv", r"resolves to 127\.0\.0\.1"),
        ("https://inside.test/x.csv", r"resolves to 10\.0\.0\.1"),
        ("https://open.test/none", "responded with HTTP 404"),
    ],
)
def test_hostile_redirects_and_names_are_followed_nowhere(internet, address, says):
    with pytest.raises(LabkitError, match=says):
        lk.load(address)


def test_what_is_fetched_has_a_bound(internet, monkeypatch):
    with pytest.raises(SampleError, match="larger than 100,000 bytes"):
        web.fetched("https://open.test/big.csv", most=100_000)
    monkeypatch.setenv("LABKIT_OFFLINE", "1")
    with pytest.raises(SampleError, match="LABKIT_OFFLINE is set"):
        lk.load("https://open.test/x.csv")


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch):
    asked = []

    def connect(where, timeout):
        asked.append(where)
        raise OSError("far enough")

    monkeypatch.setattr(socket, "create_connection", connect)
    connection = web.PinnedConnection("open.test", 443, timeout=1)
    connection.pinned = "93.184.216.34"
    with pytest.raises(OSError, match="far enough"):
        connection.connect()
    assert asked == [("93.184.216.34", 443)] and issubclass(web.PinnedConnection, http.client.HTTPSConnection)


# --- what is kept, and where ------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_the_cache_is_its_owners_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    before = os.umask(0)
    try:
        for parts in ((), ("compiled",), ("web", "x")):
            assert stat.S_IMODE(cache_dir(*parts).stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_no_text_of_the_data_is_in_what_a_run_writes_beside_it(tiny, settings, tmp_path):
    """Logs, records, errors, experiment: none holds a text, of a run that ends well or of one that fails."""
    letters = np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz"), (60, 14))
    canaries = ["".join(word) for word in letters]  # too different for the tokenizer to learn one whole
    rows = lk.load([{"text": f"{word} a film", "label": "ab"[i % 2]} for i, word in enumerate(canaries)])
    settings = {**settings, "buckets": 1, "packing": "never"}
    failing = {**settings, "learning_rate": 1e30, "clip": 0.0}
    with pytest.raises(LabkitError, match="not finite"):
        lk.fit(rows, tiny, folder=tmp_path, background=False, **failing)
    run = lk.fit(rows, tiny, folder=tmp_path, detach=True, **settings).wait(300)
    assert (run.info.folder / "worker.log").exists()
    seen = 0
    for path in tmp_path.rglob("*"):
        if path.is_file() and "data" not in path.relative_to(tmp_path).parts[1:-1]:
            seen += 1
            assert not any(word.encode() in path.read_bytes() for word in canaries), path
    assert seen > 20
    kept = b"".join(path.read_bytes() for path in (run.info.folder / "data").rglob("*") if path.is_file())
    assert all(word.encode() in kept for word in canaries[:10])  # they would be found
