"""Search index of passages: BM25 and embeddings, joined by reciprocal rank fusion; kept as a folder.

Vectors are one memory-mapped NumPy file in half or full precision; a search multiplies them in portions, which is exact
and needs no other library up to some million passages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core import manifest
from labkit.core.errors import ConfigError, DataError, nearest, os_reason
from labkit.i18n import _
from labkit.inference.embedding import EmbeddingPipeline
from labkit.inference.question_answering import QuestionAnsweringPipeline
from labkit.inference.text_generation import TextGenerationPipeline
from labkit.retrieval import passages as texts
from labkit.retrieval.answers import TextAnswer, answer
from labkit.retrieval.bm25 import BM25, terms
from labkit.retrieval.hits import Hit, Hits, Reranker
from labkit.retrieval.passages import Passage, Passages
from labkit.retrieval.report import RetrievalReport

if TYPE_CHECKING:
    from labkit.data.rows import Rows

METHODS = ("hybrid", "embeddings", "bm25")
#: Candidates of each method that are joined, and the constant of reciprocal rank fusion (Cormack et al. 2009).
CANDIDATES, FUSION = 100, 60
#: Encoder → words before queries and before passages that it was trained with.
PREFIXES = {"e5-small": ("query: ", "passage: ")}
FILE, VERSION = "index.json", 1
_PORTION = 65_536  # vectors multiplied at a time


class SearchIndex:
    """Passages that can be searched by words, by meaning, or by both.

    Made by :meth:`from_folder`, :meth:`from_rows` or :meth:`load`.

    Attributes:
        passages: in order; a hit names one by its ``place``.
        encoder: name of the weights, or folder, whose embeddings are searched; "" for BM25 alone.
        vectors: embeddings [n, d] of length 1; None for BM25 alone.
        notes: (file or row, why it was left out).
        threshold: evidence below which :meth:`answer` declines; None before :meth:`calibrate`.
    """

    def __init__(
        self,
        passages: Passages,
        bm25: BM25,
        vectors: np.ndarray | None,
        encoder: str,
        prefixes: tuple[str, str],
    ):
        self.passages, self.notes = passages.items, passages.notes
        self.bm25, self.vectors, self.encoder, self.prefixes = bm25, vectors, encoder, prefixes
        self.threshold: float | None = None
        self.calibration: dict[str, float] = {}
        self._pipeline: EmbeddingPipeline | None = None
        self._writer: tuple[str, TextGenerationPipeline] | None = None

    # --- making -------------------------------------------------------------------------------------------------

    @classmethod
    def from_folder(cls, folder: str | Path, encoder: str | Path | None = "minilm-l6", *, words: int = texts.WORDS,
                    dtype: str = "float16", prefixes: tuple[str, str] | None = None) -> SearchIndex:  # fmt: skip
        """Index every .txt, .md and .pdf file of a folder.

        Args:
            folder: with the files, also in subfolders.
            encoder: as for :class:`labkit.EmbeddingPipeline`; "e5-small" reads Chinese and 100 other languages;
                None for BM25 alone.
            words: words of a passage at most.
            dtype: of the stored vectors, "float16" or "float32".
            prefixes: words before queries and before passages that the encoder was trained with. Default: those of
                "e5-small", else none.

        Raises:
            DataError: there is no text in the folder.
            ConfigError: an unknown ``dtype``.
        """
        return cls._made(texts.from_folder(folder, words), encoder, dtype, prefixes)

    @classmethod
    def from_rows(
        cls, rows: Rows | Sequence[str] | Sequence[Mapping[str, Any]], encoder: str | Path | None = "minilm-l6", *,
        text: str = "text", source: str = "", heading: str = "", dtype: str = "float16",
        prefixes: tuple[str, str] | None = None,
    ) -> SearchIndex:  # fmt: skip
        """Index rows, a passage each: texts, dicts, or the training split of :func:`labkit.load`.

        Args:
            rows: the rows.
            text, source, heading: columns; the last two name where a passage comes from.
            encoder, dtype, prefixes: as for :meth:`from_folder`.
        """
        return cls._made(texts.from_rows(rows, text, source, heading), encoder, dtype, prefixes)

    @classmethod
    def _made(
        cls, passages: Passages, encoder: str | Path | None, dtype: str, prefixes: tuple[str, str] | None
    ) -> SearchIndex:
        if dtype not in ("float16", "float32"):
            raise ConfigError(_("dtype = {dtype!r}; vectors are stored as float16 or float32."), dtype=dtype)
        name = str(encoder or "")
        given = tuple(PREFIXES.get(name, ("", "")) if prefixes is None else prefixes)
        if len(given) != 2:
            raise ConfigError(_("prefixes are two texts: before queries and before passages."))
        found = [f"{item.heading}\n{item.text}" if item.heading else item.text for item in passages.items]
        made = cls(passages, BM25.fit(found), None, name, (given[0], given[1]))
        if name:
            made.vectors = made._embed([given[1] + each for each in found]).astype(dtype)
        return made

    def _embed(self, given: Sequence[str]) -> np.ndarray:
        if self._pipeline is None:
            self._pipeline = EmbeddingPipeline(self.encoder)
        return self._pipeline.embed(list(given))

    # --- searching ----------------------------------------------------------------------------------------------

    def search(
        self, query: str, top: int = 10, method: str = "hybrid", rerank: Reranker | None = None
    ) -> Hits:
        """The ``top`` best passages for a query.

        Args:
            query: a question or some words.
            top: number of hits at most.
            method: "bm25" (words), "embeddings" (meaning), or "hybrid", which joins both by reciprocal rank. An index
                without embeddings uses BM25.
            rerank: orders the best 50 candidates anew, such as :func:`labkit.retrieval.rerank.cross_encoder`.

        Raises:
            DataError: the query is not a text, or has no letter.
            ConfigError: an unknown method, or ``top`` below 1.
        """
        if not isinstance(query, str) or not terms(query):
            raise DataError(_("the query is {query!r}; give a text with at least one word."), query=query)
        if top < 1:
            raise ConfigError(_("top = {top}; must be at least 1."), top=top)
        places, scores = self.rank(query, max(top, 50) if rerank else top, method)
        if rerank is not None:
            scores = np.asarray(rerank(query, [self.passages[place].text for place in places]), np.float64)
            order = np.argsort(-scores, kind="stable")
            places, scores = places[order], scores[order]
        pairs = zip(places[:top].tolist(), scores[:top].tolist(), strict=True)
        found = [
            Hit(self.passages[place], place, rank, score) for rank, (place, score) in enumerate(pairs, 1)
        ]
        return Hits(found, query, method if self.vectors is not None else "bm25")

    def rank(
        self, query: str, top: int = CANDIDATES, method: str = "hybrid"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places of the ``top`` best passages, and their scores; BM25 leaves out passages without a common term."""
        if method not in METHODS:
            raise ConfigError(
                _("unknown method {method!r}.{hint} Known: {known}."),
                method=method, hint=nearest(method, METHODS), known=", ".join(METHODS),
            )  # fmt: skip
        if self.vectors is None:
            if method == "embeddings":
                raise ConfigError(_("this index has no embeddings: make it with an encoder."))
            method = "bm25"
        if method == "bm25":
            scores = self.bm25.scores(query)
            places = _best(scores, top)
            places = places[scores[places] > 0]
            return places, scores[places].astype(np.float64)
        if method == "embeddings":
            scores = self.cosines(query)
            places = _best(scores, top)
            return places, scores[places].astype(np.float64)
        joined = np.zeros(len(self.passages))
        for each in ("bm25", "embeddings"):
            places, _scores = self.rank(query, max(CANDIDATES, top), each)
            joined[places] += 1 / (FUSION + 1 + np.arange(len(places)))
        places = _best(joined, top)
        places = places[joined[places] > 0]
        return places, joined[places]

    def cosines(self, query: str) -> np.ndarray:
        """Cosine of the query with every passage, f32[n]."""
        assert self.vectors is not None
        vector = self._embed([self.prefixes[0] + query])[0]
        if vector.shape[0] != self.vectors.shape[1]:
            raise DataError(
                _(
                    "the index has vectors of {ours}, the encoder {encoder!r} makes vectors of {theirs}: make "
                    "the index again."),
                ours=self.vectors.shape[1], encoder=self.encoder, theirs=vector.shape[0],
            )  # fmt: skip
        found = np.empty(len(self.vectors), np.float32)
        for start in range(0, len(found), _PORTION):
            part = slice(start, start + _PORTION)
            found[part] = np.asarray(self.vectors[part], np.float32) @ vector
        return found

    def evaluate(
        self, queries: Sequence[str], relevant: Sequence[Sequence[int]], rerank: Reranker | None = None
    ) -> RetrievalReport:
        """NDCG@10, Recall@100 and MRR@10 of every method (and of ``rerank``) on queries with known passages.

        Args:
            queries: texts.
            relevant: for each query the places of the passages that answer it.
            rerank: as for :meth:`search`; it orders the first 50 of "hybrid".
        """
        methods = METHODS if self.vectors is not None else ("bm25",)
        rankings: dict[str, list[list[int]]] = {method: [] for method in methods}
        for query in queries:
            for method in methods:
                rankings[method].append(self.rank(query, 100, method)[0].tolist())
            if rerank is not None:
                first = rankings[methods[0]][-1]
                scores = np.asarray(
                    rerank(query, [self.passages[place].text for place in first[:50]]), np.float64
                )
                order = np.argsort(-scores, kind="stable")
                rankings.setdefault("reranked", []).append([*(first[n] for n in order), *first[50:]])
        return RetrievalReport(rankings, relevant, queries)

    # --- evidence -----------------------------------------------------------------------------------------------

    def evidence(self, query: str) -> float:
        """How well the best passage fits a query: its cosine, or without embeddings its BM25 score by query term."""
        if self.vectors is not None:
            return float(self.cosines(query).max())
        return float(self.bm25.scores(query).max()) / max(len(set(terms(query))), 1)

    def calibrate(self, answerable: Sequence[str], unanswerable: Sequence[str]) -> dict[str, float]:
        """Choose the threshold of :meth:`evidence` on validation questions: the one with the best mean of the shares of
        answerable questions above it and of unanswerable ones below it.

        Args:
            answerable: questions that the texts answer.
            unanswerable: questions that they do not.

        Returns:
            ``threshold``, ``answered`` (share of the answerable above it), ``declined`` (share of the others below it).
        """
        if not answerable or not unanswerable:
            raise DataError(_("give questions that the texts answer, and questions that they do not answer."))
        yes, no = (np.sort([self.evidence(query) for query in each]) for each in (answerable, unanswerable))
        both = np.unique(np.concatenate([yes, no]))
        edges = np.concatenate([both[:1] - 1e-6, (both[1:] + both[:-1]) / 2, both[-1:] + 1e-6])
        answered, declined = ((yes[:, None] >= edges).mean(0), (no[:, None] < edges).mean(0))
        best = int(np.argmax(answered + declined))
        self.threshold = float(edges[best])
        self.calibration = {
            "threshold": self.threshold, "answered": float(answered[best]), "declined": float(declined[best]),
        }  # fmt: skip
        return self.calibration

    def answer(
        self,
        question: str,
        model: str | Path | TextGenerationPipeline | QuestionAnsweringPipeline = "smollm2-135m",
        *,
        passages: int = 3,
        method: str = "hybrid",
        rerank: Reranker | None = None,
        threshold: float | None = None,
        max_new_tokens: int = 80,
    ) -> TextAnswer:
        """Answer a question from the texts, with the passage cited, or decline where the evidence is too weak.

        Args:
            question: the question.
            model: a chat model, by name or opened, which writes the answer; or an opened model of extractive question
                answering, which cuts it out of a passage.
            passages: number of passages to read.
            method, rerank: see :meth:`search`.
            threshold: evidence below which no answer is given. Default: that of :meth:`calibrate`, if any.
            max_new_tokens: of a chat model.

        Returns:
            The answer. Small language models make mistakes also with the right passage: read the passage too.
        """
        hits = self.search(question, passages, method, rerank)
        evidence, least = self.evidence(question), self.threshold if threshold is None else threshold
        declined = not hits or (least is not None and evidence < least)
        if not declined and isinstance(model, str | Path):
            if self._writer is None or self._writer[0] != str(model):
                self._writer = str(model), TextGenerationPipeline(model)
            model = self._writer[1]
        return answer(question, hits, evidence, least, None if declined else model, max_new_tokens)  # type: ignore[arg-type]

    # --- keeping ------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the index to a new or empty folder; :meth:`load` opens it."""
        place = Path(folder).expanduser()
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise ConfigError(
                _("{folder!r} is not empty; give a new folder for the index."), folder=str(folder)
            )
        try:
            place.mkdir(parents=True, exist_ok=True)
            with open(place / "passages.jsonl", "w", encoding="utf-8", newline="\n") as file:
                file.writelines(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in self.passages)
            self.bm25.save(place)
            if self.vectors is not None:
                np.save(place / "vectors.npy", np.asarray(self.vectors), allow_pickle=False)
            about = {
                "version": VERSION, "encoder": self.encoder, "prefixes": self.prefixes, "notes": self.notes,
                "threshold": self.threshold, "calibration": self.calibration,
            }  # fmt: skip
            (place / FILE).write_text(
                json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            manifest.seal(place)
        except OSError as error:
            raise DataError(
                _("the index cannot be written to {folder!r}: {reason}"),
                folder=str(folder),
                reason=os_reason(error),
            ) from error
        return place

    @classmethod
    def load(cls, folder: str | Path, encoder: str | Path | None = None) -> SearchIndex:
        """Open an index that :meth:`save` wrote; its vectors stay on the disk (memory-mapped).

        Args:
            folder: of the index.
            encoder: where the encoder lies now, if it was a folder that has moved.

        Raises:
            DataError: there is no index, or it is damaged.
        """
        place = Path(folder).expanduser()
        if not (place / FILE).is_file():
            raise DataError(
                _("{folder!r} contains no search index; `labkit index` makes one."), folder=str(folder)
            )
        if damage := manifest.damage(place):
            raise DataError(_("the search index is damaged: {reason}"), reason="; ".join(map(str, damage)))
        try:
            about = json.loads((place / FILE).read_text(encoding="utf-8"))
            with open(place / "passages.jsonl", encoding="utf-8") as file:
                items = [Passage(**json.loads(line)) for line in file]
            before, after = map(str, about["prefixes"])
            found = Passages(items, [(str(name), str(why)) for name, why in about["notes"]])
            vectors = (
                np.load(place / "vectors.npy", mmap_mode="r") if (place / "vectors.npy").exists() else None
            )
            name, version = str(about["encoder"]), about["version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(_("the search index is damaged: {reason}"), reason=str(error)) from error
        if version != VERSION:
            raise DataError(
                _("the index has version {version}; this labkit reads {known}. Make it again."),
                version=version, known=VERSION,
            )  # fmt: skip
        bm25 = BM25.load(place)
        if bm25.weights.shape[1] != len(items) or (vectors is not None and len(vectors) != len(items)):
            raise DataError(_("the search index is damaged: {reason}"), reason="passages.jsonl")
        made = cls(found, bm25, vectors, str(encoder) if encoder else name, (before, after))
        made.threshold, made.calibration = about.get("threshold"), about.get("calibration") or {}
        return made

    def __len__(self) -> int:
        return len(self.passages)

    def __repr__(self) -> str:
        sources = len({each.source for each in self.passages})
        return str(
            _(
                "Search index: {passages:,} passages of {sources:,} sources; embeddings: {encoder}",
                passages=len(self), sources=sources, encoder=self.encoder or "–",
            )
        )  # fmt: skip


def _best(scores: np.ndarray, top: int) -> np.ndarray:
    """Places of the greatest scores, in their order; of equal ones the first."""
    top = min(top, len(scores))
    least = np.partition(scores, len(scores) - top)[len(scores) - top]
    above = np.flatnonzero(scores > least)
    equal = np.flatnonzero(scores == least)[: top - len(above)]
    places = np.concatenate([above, equal])
    return places[np.lexsort((places, -scores[places]))]
