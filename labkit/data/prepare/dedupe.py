"""Duplicates: exact, near (MinHash), and with conflicting labels.

 Two texts are exact copies when they are equal after NFKC, case folding and collapsing of white space. They
are near copies when the Jaccard similarity of their sets of three-character shingles reaches a threshold:
MinHash (Broder 1997) proposes the pairs, the true similarity decides. Shingles of characters need no words,
so Chinese works alike.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from labkit.core.config import known_settings
from labkit.core.errors import ConfigError, DataError, nearest
from labkit.data import memmap
from labkit.data.arrow import batches, column, contents, numbers, text_columns, written
from labkit.data.dataset import SplitDataset, Table
from labkit.data.recipe import recorded
from labkit.data.report import Note
from labkit.i18n import _

if TYPE_CHECKING:
    from datasets import Dataset

_AT_ONCE = 1_000_000  # bytes of texts brought into their normal form at once
#: ASCII in lower case, and white space (what ``str.split`` takes for it) as a space.
_FOLDED = bytes(0x20 if chr(code).isspace() and code < 128 else code for code in range(256)).lower()
_FIRST = {
    "test": 0,
    "validation": 1,
}  # the copy that is kept: an evaluation must not lose rows to the training split


def exact_duplicates(rows: SplitDataset) -> pd.DataFrame:
    """All rows whose text another row has too.

    Returns:
        A frame, one line per such row: group (0, 1, …), row (its number in the source), split, label (name of
        the class, None when unlabelled), text. The first line of a group is the copy that :func:`dedupe`
        keeps.
    """
    return _groups(table(rows), rows, "key")


def conflicts(rows: SplitDataset) -> pd.DataFrame:
    """The exact duplicates whose labels disagree, in the form of :func:`exact_duplicates`: a sign of label
    noise."""
    copies = table(rows)
    return _groups(copies[_disagree(copies)], rows, "key")


def near_duplicates(rows: SplitDataset, threshold: float = 0.8) -> pd.DataFrame:
    """Groups of rows whose texts are nearly the same, exact duplicates among them.

    Every row of a group has a similarity of at least ``threshold`` to the first line of the group; groups do
    not grow by chains. A pair at the threshold is missed with a probability below 0.1 %, a closer one more
    rarely. Unlike exact duplicates, this needs memory for all different texts: 12 bytes for each different
    shingle of each (and some 30 bytes for every character while they are found), and half a kilobyte for each
    text.

    Returns:
        The frame of :func:`exact_duplicates` with the column similarity (Jaccard, to the group's first row;
        1.0 for equal sets of shingles).

    Raises:
        ConfigError: the threshold is not above 0 and at most 1.
        DataError: the rows hold no texts.
    """
    return _groups(_with_leaders(table(rows), rows, threshold), rows, "leader", "similarity")


@recorded
@known_settings
def dedupe(
    rows: Table,
    near: bool = False,
    threshold: float = 0.8,
    keep: str = "first",
    conflicts: str = "keep-first",
) -> Table:
    """Remove duplicates: keep one copy of each text in the whole data set.

    A copy in test is kept before one in validation, that before one in train, so that what is evaluated on is
    never trained on and stays whole; within a split a labelled copy comes before an unlabelled one, and then
    the first one.

    Args:
        near: drop near duplicates too (:func:`near_duplicates`).
        threshold: least similarity of near duplicates.
        keep: "first" or "last" row of a split.
        conflicts: for exact copies with different labels: "keep-first" treats them like other copies, "drop"
            keeps none of them.

    Returns:
        Rows whose report has a refused note with the row number for each dropped row.

    Raises:
        ConfigError: an unknown choice or a threshold out of range.
        DataError: ``near`` for rows without texts, or nothing is left of a split.
    """
    _one_of("keep", keep, ("first", "last"))
    _one_of("conflicts", conflicts, ("keep-first", "drop"))
    copies = table(rows, last=keep == "last")
    noisy = _disagree(copies) & (conflicts == "drop")
    notes = [_noisy(line, rows.schema.classes) for line in copies[noisy].itertuples()]
    copies = copies[~noisy]
    copies = _with_leaders(copies, rows, threshold) if near else copies.assign(leader=copies["key"])
    again = copies.duplicated("leader")
    kept = copies[~again]
    copies = copies[again]
    leaders = kept[kept["leader"].isin(copies["leader"])].set_index("leader")
    copies = copies.join(leaders.add_prefix("kept_"), on="leader")
    notes += [_copied(line, rows.schema.classes) for line in copies.itertuples()]
    splits = {name: _chosen(split, name, kept) for name, split in rows.splits.items()}
    return rows.with_splits(splits, sorted(notes, key=lambda note: note.row or 0))


def normalise(text: str) -> str:
    """The form in which exact copies are equal: NFKC, case folded, white space collapsed."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.casefold().split())


def table(rows: SplitDataset, last: bool = False) -> pd.DataFrame:
    """All rows in the order in which copies are kept.

    Returns:
        A frame with split, position (in the split), row, label (-1 unlabelled) and key: what exact copies
        have in common, i64, counted from 0 in this order. It holds no texts: copies are identified by a
        128-bit hash of each, so that a row costs about 60 bytes (150 while they are sorted), however long its
        text.
    """
    frames = []
    kind = pd.CategoricalDtype(list(rows.splits))
    for place, (name, split) in enumerate(rows.splits.items()):
        frame = pd.DataFrame({"row": numbers(split, "row"), "label": numbers(split, "label")})
        frame["high"], frame["low"] = digests(split, words=2).T
        frame["split"] = pd.Categorical.from_codes(np.full(len(frame), place, np.int8), dtype=kind)
        frame["position"] = np.arange(len(frame), dtype=np.int32)
        frames.append(frame.assign(order=np.int8(_FIRST.get(name, 2))))
    whole = pd.concat(frames, ignore_index=True)
    whole["unlabelled"] = whole["label"] < 0
    whole = whole.sort_values(
        ["order", "unlabelled", "row"], ascending=[True, True, not last], ignore_index=True
    )
    whole["key"] = whole.groupby(["high", "low"], sort=False).ngroup()
    return whole.drop(columns=["high", "low"])


def norms(split: Dataset) -> Iterator[str]:
    """What is equal in exact copies: the normalised texts; without texts the values of all source columns."""
    names = text_columns(split)
    if not names:
        yield from (line.decode("utf-8", "surrogatepass") for line in _plain(split, written))
    for part in batches(split, names) if names else ():
        for line in zip(*(texts.to_pylist() for texts in part.columns), strict=True):
            yield "\n".join(map(normalise, line))


def _plain(split: Dataset, told: Callable[[pa.ChunkedArray], Iterator[bytes]] = contents) -> Iterator[bytes]:
    """The values of all source columns of each row, for rows without texts."""
    names = [name for name in split.column_names if name not in ("label", "row", "target", "file")]
    if not names:
        yield from [b""] * len(split)
        return
    for part in batches(split, names):
        yield from map(b"\n".join, zip(*(_values(values, told) for values in part.columns), strict=True))


def digests(split: Dataset, salt: str = "", words: int = 1) -> np.ndarray:
    """Bits of ``salt`` and what :func:`norms` says of each row, u64[n, words]: equal for copies, else as good
    as drawn.

    Texts are brought into their normal form in bulk, a megabyte at a time; those that are not ASCII one by
    one.
    """
    return drawn(len(split), _normal(split) if text_columns(split) else _plain(split), salt, words)


def drawn(count: int, names: Iterable[bytes], salt: str = "", words: int = 1) -> np.ndarray:
    """BLAKE2b of ``salt`` and each of ``count`` names, u64[count, words]. The names need not be kept."""
    out, start, size = memmap.array(count * words, np.uint64), _utf8(salt), 8 * words
    names = iter(names)
    for part in memmap.portions(count):
        some = islice(names, part.stop - part.start)
        found = b"".join([hashlib.blake2b(start + name, digest_size=size).digest() for name in some])
        out[part.start * words : part.stop * words] = np.frombuffer(found, ">u8")
    return out.reshape(count, words)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _normal(split: Dataset) -> Iterator[bytes]:
    """:func:`norms` of texts as UTF-8."""
    for whole in batches(split, text_columns(split)):
        size = max(1, _AT_ONCE * len(whole) // max(1, whole.nbytes))
        for part in (whole.slice(start, size) for start in range(0, len(whole), size)):
            columns = [_normal_texts(texts) for texts in part.columns]
            yield from columns[0] if len(columns) == 1 else map(b"\n".join, zip(*columns, strict=True))


def _normal_texts(texts: pa.ChunkedArray) -> list[bytes]:
    """:func:`normalise` of many texts. ASCII needs a table of 256 bytes, and words apart only where blanks
    meet."""
    found: list[bytes] = []
    for array in texts.cast(pa.large_string()).chunks:
        if array.null_count:
            raise DataError(
                _("text {number} of a chunk is missing; fill it in."),
                number=array.is_null().index(True).as_py(),
            )
        ends = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        raw = bytes(memoryview(array.buffers()[2] or b"")[ends[0] : ends[-1]])
        ends = ends - ends[0]
        small = raw.translate(_FOLDED)
        code = np.frombuffer(small, np.uint8)
        blank = code == ord(" ")
        care = np.zeros(len(array), bool)
        meet = np.flatnonzero(blank[1:] & blank[:-1])
        care[np.searchsorted(ends, meet, side="right") - 1] = True
        full = np.flatnonzero(np.diff(ends))
        care[full] |= blank[ends[full]] | blank[ends[full + 1] - 1]
        other = np.unique(np.searchsorted(ends, np.flatnonzero(code >= 128), side="right") - 1).tolist()
        cuts = ends.tolist()
        chunk = [small[start:end] for start, end in pairwise(cuts)]
        for place in np.flatnonzero(care).tolist():
            chunk[place] = b" ".join(chunk[place].split())
        for place in other:
            chunk[place] = _utf8(normalise(raw[cuts[place] : cuts[place + 1]].decode()))
        found += chunk
    return found


def _values(values: pa.ChunkedArray, told: Callable[[pa.ChunkedArray], Iterator[bytes]]) -> Iterator[bytes]:
    """What identifies values; of an image its bytes, for copies may have been read from different paths."""
    if not pa.types.is_struct(values.type):
        return told(values)
    plain = values.to_pylist()
    return (repr(v["bytes"] if v and v.get("bytes") is not None else v).encode() for v in plain)


def _disagree(copies: pd.DataFrame) -> pd.Series:
    """True for the labelled copies of a text that has two labels."""
    labelled = copies["label"].where(copies["label"] >= 0)
    return labelled.notna() & (labelled.groupby(copies["key"]).transform("nunique") > 1)


def _groups(copies: pd.DataFrame, rows: SplitDataset, by: str, *more: str) -> pd.DataFrame:
    """The lines that share their value of ``by``, numbered by group."""
    groups = copies[copies.duplicated(by, keep=False)].sort_values(by, kind="stable", ignore_index=True)
    classes = rows.schema.classes
    named = [classes[label] if label >= 0 else None for label in groups["label"]]
    groups = groups.assign(group=pd.factorize(groups[by])[0], label=pd.Series(named, dtype=object))
    groups["text"] = _taken(groups, rows, lambda split: column(split, "text").to_pylist())
    groups["split"] = groups["split"].astype(object)
    return groups[["group", "row", "split", "label", *more, "text"]]


def _taken(lines: pd.DataFrame, rows: SplitDataset, read: Callable[[Dataset], list[str]]) -> pd.Series:
    """The texts of some lines of :func:`table`, as ``read`` takes them from a split; "" where there are none."""
    texts = pd.Series("", lines.index, dtype=object)
    for name, split in rows.splits.items():
        mine = lines["position"][lines["split"] == name]
        if text_columns(split) and len(mine):
            texts[mine.index] = read(memmap.chosen(split, mine.to_numpy()))
    return texts


def _chosen(split: Dataset, name: str, kept: pd.DataFrame) -> Dataset:
    positions = np.sort(kept.loc[kept["split"] == name, "position"].to_numpy())
    if len(positions) == len(split):
        return split
    if not len(positions):
        raise DataError(
            _(
                "no row of {name!r} would remain: each is a duplicate, or its duplicates have different labels."
            ),
            name=name,
        )
    return memmap.chosen(split, positions)


def _noisy(line: Any, classes: tuple[str, ...]) -> Note:
    detail = _("{label!r} here, another label elsewhere", label=classes[line.label])
    return Note(line.row, "text", "refused", _("duplicates with different labels"), detail, line.split)


def _copied(line: Any, classes: tuple[str, ...]) -> Note:
    """Why a copy was dropped, and for which row."""
    kept = _("kept: row {kept_row} in {kept_split}", kept_row=line.kept_row, kept_split=line.kept_split)
    if line.key != line.kept_key:
        detail = _("similarity {similarity:.2f}; {kept}", similarity=line.similarity, kept=kept)
        return Note(line.row, "text", "refused", _("near duplicate"), detail, line.split)
    if line.label >= 0 and line.label != line.kept_label:
        detail = _(
            "{label!r} here, {kept_label!r} there; {kept}",
            label=classes[line.label],
            kept_label=classes[line.kept_label],
            kept=kept,
        )
        return Note(line.row, "text", "refused", _("duplicate with another label"), detail, line.split)
    return Note(line.row, "text", "refused", _("duplicate"), kept, line.split)


def _one_of(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(
            _("{what} = {value!r} is not one of {choices}.{hint}"),
            what=what, value=value, choices=", ".join(choices), hint=nearest(value, choices),
        )  # fmt: skip


# --- near duplicates ---------------------------------------------------------------------------------------------

_PERMUTATIONS = 128
_MISSED = 1e-3  # greatest probability to miss a pair at the threshold
_WIDE = 100  # in a larger bucket, rows are compared with its first ones only


def _with_leaders(copies: pd.DataFrame, rows: SplitDataset, threshold: float) -> pd.DataFrame:
    """Adds leader (key of the first row of its group) and similarity (to that row)."""
    if not 0 < threshold <= 1:
        raise ConfigError(_("threshold = {threshold!r} must be above 0 and at most 1."), threshold=threshold)
    first_lines = copies[~copies.duplicated("key")]  # in the order of their keys
    texts = _taken(first_lines, rows, lambda split: list(norms(split))).tolist()
    if not any(texts):
        raise DataError(_("near-duplicate detection needs texts, and these rows have none."))
    first, second, similarity = near_pairs(texts, threshold)
    leader, close = np.arange(len(texts)), np.ones(len(texts))
    # In the order of `second`, the closest first: whether `first` leads is settled before it is asked.
    for at in np.lexsort((first, -similarity, second)):
        i, j = first[at], second[at]
        if leader[j] == j and leader[i] == i:
            leader[j], close[j] = i, similarity[at]
    return copies.assign(leader=leader[copies["key"]], similarity=close[copies["key"]])


def near_pairs(texts: Sequence[str], threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of similar texts: (first i64[p], second i64[p], similarity f64[p]) with first < second.

    Locality-sensitive hashing: texts that agree in all MinHash values of some band are candidates, and those
    that agree in enough of all values are compared by true Jaccard.
    """
    sets = _shingles(texts)
    sizes = np.diff(sets.indptr)
    signatures = _signatures(sets)
    height = _band_height(threshold)
    found = [np.empty(0, np.int64)]
    for top in range(0, _PERMUTATIONS - height + 1, height):
        for first, second in _bucket_pairs(signatures[:, top : top + height]):
            likely = _likely(signatures, sizes, first, second, threshold)
            found.append((first * len(texts) + second)[likely])
    first, second = np.divmod(np.unique(np.concatenate(found)), len(texts))
    similarity = _jaccard(sets, sizes, first, second)
    similar = similarity >= threshold
    return first[similar], second[similar], similarity[similar]


def _signatures(sets: sparse.csr_array) -> np.ndarray:
    """MinHash values, i32[n, _PERMUTATIONS]: the least rank of a text's shingles in random orders of all
    shingles."""
    rng = np.random.default_rng(0)
    out = np.empty((sets.shape[0], _PERMUTATIONS), np.int32)
    for place in range(_PERMUTATIONS):
        ranks = rng.permutation(sets.shape[1]).astype(np.int32)
        out[:, place] = np.minimum.reduceat(ranks[sets.indices], sets.indptr[:-1])
    return out


def _likely(
    signatures: np.ndarray, sizes: np.ndarray, first: np.ndarray, second: np.ndarray, threshold: float
) -> np.ndarray:
    """Which candidates can reach the threshold, by set sizes and by the estimate of the signatures less 4
    sigma."""
    small, large = np.minimum(sizes[first], sizes[second]), np.maximum(sizes[first], sizes[second])
    likely = small >= threshold * large  # the similarity is at most small / large
    least = _PERMUTATIONS * threshold - 4 * np.sqrt(_PERMUTATIONS * threshold * (1 - threshold))
    at = np.flatnonzero(likely)
    for part in np.array_split(at, len(at) // 50_000 + 1):
        likely[part] = (signatures[first[part]] == signatures[second[part]]).sum(axis=1) >= least
    return likely


def _shingles(texts: Sequence[str]) -> sparse.csr_array:
    """Which shingles a text has: i32[n, shingles], 0 or 1; a text of fewer than three characters is one
    shingle."""
    padded = [text.ljust(3, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    owner = np.repeat(np.arange(len(texts)), [len(text) for text in padded])
    packed = (
        codes[:-2] << np.uint64(42) | codes[1:-1] << np.uint64(21) | codes[2:]
    )  # 21 bits hold any code point
    inside = owner[:-2] == owner[2:]
    column, vocabulary = pd.factorize(packed[inside])
    shape = (len(texts), len(vocabulary))
    sets = sparse.csr_array((np.ones(len(column), np.int32), (owner[:-2][inside], column)), shape=shape)
    sets.sum_duplicates()
    sets.data[:] = 1
    return sets


def _band_height(threshold: float) -> int:
    """The most values per band (fewer false candidates) with which a pair at the threshold is still found."""
    for height in range(16, 1, -1):
        if (1 - threshold**height) ** (_PERMUTATIONS // height) <= _MISSED:
            return height
    return 1


def _bucket_pairs(band: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (smaller, larger index) of texts with equal values i32[n, height], a batch for each place in the
    bucket."""
    key = np.zeros(len(band), np.uint64)
    for values in band.T:
        key = key * np.uint64(0x9E3779B97F4A7C15) + values.astype(np.uint64)
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.r_[True, key[order][1:] != key[order][:-1]])
    start = np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    place = np.arange(len(order)) - start
    for pivot in range(min(place.max(), _WIDE)):
        later = np.flatnonzero(place > pivot)
        yield order[start[later] + pivot], order[later]


def _jaccard(sets: sparse.csr_array, sizes: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    common = np.zeros(len(first), np.int64)
    for at in range(0, len(first), 20_000):
        chunk = slice(at, at + 20_000)
        common[chunk] = sets[first[chunk]].multiply(sets[second[chunk]]).sum(axis=1)
    return common / (sizes[first] + sizes[second] - common)
