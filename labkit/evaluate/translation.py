"""Evaluation of translations: BLEU and chrF++ with intervals, against a translation memory, and on new sources.

Help pages, manuals and interfaces repeat themselves, so test sources often occur in the training split too. All
scores are also given on the sources that do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from labkit.core import html
from labkit.core.errors import DataError
from labkit.data.model_input import texts_of
from labkit.data.prepare.dedupe import normalise
from labkit.data.rows import Rows
from labkit.evaluate import translation_metrics as metrics
from labkit.evaluate.intervals import Interval, percentiles
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.inference.translation import TranslationPipeline

#: Rows of a split that are translated at most, by models below and above so many parameters; of more a sample is
#: taken: a large model writes a few tokens a second on a CPU.
MOST, MOST_OF_LARGE, LARGE = 2000, 200, 20_000_000
RESAMPLES = 1000
_AT_ONCE = 2**25  # similarities held at a time: 128 MB
#: Metric → counts of each row, and the score of summed counts.
METRICS = ("chrf", "bleu")
#: Parts of the rows: all, and those whose source does not occur in the training split.
PARTS = ("all", "new")
MEMORY = "translation memory"


class TranslationMemory:
    """The translation of the most similar source: cosine of TF-IDF vectors of its character n-grams (1 to 4).

    Args:
        sources, targets: texts and their translations.
    """

    def __init__(self, sources: Sequence[str], targets: Sequence[str]):
        from sklearn.feature_extraction.text import TfidfVectorizer

        if not sources or len(sources) != len(targets):
            raise DataError(
                _("{n_source} source texts but {n_target} target texts."),
                n_source=len(sources), n_target=len(targets),
            )  # fmt: skip
        self.sources, self.targets = list(sources), list(targets)
        self._vectors = TfidfVectorizer(
            analyzer="char", ngram_range=(1, 4), sublinear_tf=True, dtype=np.float32
        )
        try:
            self._known = csr_matrix(self._vectors.fit_transform(self.sources)).transpose().tocsr()
        except ValueError as error:  # empty texts only
            raise DataError(_("the training sources contain no text.")) from error

    def nearest(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Place of the most similar source of each text, and the similarity, 0 to 1; the first of equal ones."""
        places, near = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.float32)
        at_once = max(1, _AT_ONCE // len(self.sources))
        for start in range(0, len(texts), at_once):
            part = slice(start, start + at_once)
            found = (self._vectors.transform(list(texts[part])) @ self._known).toarray()
            places[part] = found.argmax(1)
            near[part] = found.max(1)
        return places, near

    def translate(self, texts: Sequence[str]) -> list[str]:
        """The target of the most similar source of each text."""
        return [self.targets[place] for place in self.nearest(texts)[0]]


class TranslationReport:
    """Translations of one split, compared with references and with other systems.

    Args:
        outputs: translations by the model.
        references: the right translations.
        sources: the source texts.
        train_sources: sources of the training split; the scores of the part "new" are those of other sources.
        others: name → translations by another system, such as a baseline.
        rows: row numbers in the source.
        tokenizer: of BLEU, "13a" or "zh". Default: by the references.
        seed: of the resamples.

    Raises:
        DataError: numbers of texts that differ, none at all, or a text that is not a string.
    """

    def __init__(
        self,
        outputs: Sequence[str],
        references: Sequence[str],
        sources: Sequence[str] | None = None,
        train_sources: Sequence[str] = (),
        others: Mapping[str, Sequence[str]] | None = None,
        *,
        rows: Sequence[int] | None = None,
        tokenizer: str | None = None,
        split: str = "test",
        seed: int = 0,
    ):
        self.references = texts_of(references, _("target text"))
        n = len(self.references)
        self.sources = [""] * n if sources is None else texts_of(sources, _("source text"))
        self.systems = {"": texts_of(outputs, _("target text"))}
        self.systems |= {name: texts_of(each, _("target text")) for name, each in (others or {}).items()}
        for each in (self.sources, *self.systems.values()):
            if len(each) != n or not n:
                raise DataError(
                    _("{n_source} source texts but {n_target} target texts."), n_source=len(each), n_target=n
                )
        self.rows = list(range(n)) if rows is None else [int(row) for row in rows]
        self.split, self.seed = split, seed
        self.tokenizer = tokenizer or metrics.tokenizer_for(self.references)
        if self.tokenizer not in metrics.TOKENIZERS:
            raise DataError(
                _("unknown tokenizer {tokenizer!r} of BLEU. Known: {known}."),
                tokenizer=self.tokenizer, known=", ".join(metrics.TOKENIZERS),
            )  # fmt: skip
        known = {normalise(text) for text in train_sources}
        self.in_train = np.asarray([normalise(text) in known for text in self.sources], bool)
        self.sampled = 0  # rows of the split of which these are a sample; 0: these are all

    @property
    def outputs(self) -> list[str]:
        """Translations by the model."""
        return self.systems[""]

    @property
    def leaked(self) -> int:
        """Rows whose source occurs in the training split."""
        return int(self.in_train.sum())

    @property
    def signature(self) -> str:
        """The settings of BLEU and chrF++, as sacrebleu writes them."""
        return (
            f"BLEU nrefs:1|case:mixed|eff:no|tok:{self.tokenizer}|smooth:exp; "
            f"chrF2++ nrefs:1|case:mixed|eff:yes|nc:{metrics.CHARACTERS}|nw:{metrics.WORDS}|space:no"
        )

    def score(self, metric: str = "chrf", system: str = "", part: str = "all") -> float:
        """BLEU or chrF++ (0 to 100) of a system on a part of the rows; NaN for no rows."""
        here = self._here(part)
        if not here.any():
            return float("nan")
        return float(_score(metric, self._counts[metric, system][here].sum(0)))

    def interval(self, metric: str = "chrf", system: str = "", part: str = "all") -> Interval:
        """95 % bootstrap interval of :meth:`score`."""
        return percentiles(self._drawn(metric, system, part))

    def gain(
        self, other: str = MEMORY, metric: str = "chrf", part: str = "all"
    ) -> tuple[float, float, float]:
        """Score of the model less that of another system, with its paired 95 % bootstrap interval (Koehn 2004):
        every resample takes the same rows of both."""
        difference = self.score(metric, "", part) - self.score(metric, other, part)
        low, high = percentiles(self._drawn(metric, "", part) - self._drawn(metric, other, part))
        return difference, low, high

    def compare(
        self, other: TranslationReport, metric: str = "chrf", part: str = "all"
    ) -> tuple[float, float, float]:
        """:meth:`gain` over the model of another report on the same rows.

        Raises:
            DataError: the other report has other references.
        """
        if other.references != self.references or other.tokenizer != self.tokenizer:
            raise DataError(_("the reports differ in their references or tokenizer: compare the same rows."))
        both = TranslationReport(
            self.outputs, self.references, self.sources, others={"other": other.outputs},
            tokenizer=self.tokenizer, seed=self.seed,
        )  # fmt: skip
        both.in_train = self.in_train
        return both.gain("other", metric, part)

    def scores(self) -> tuple[dict[str, float], dict[str, Interval]]:
        """Scores by name with their intervals: ``chrf``, ``bleu``, then for every other system its score and the
        gain over it; those with ``new_`` before them are of sources that do not occur in the training split."""
        found, intervals = dict[str, float](), dict[str, Interval]()
        for part, metric in ((part, metric) for part in self.parts for metric in METRICS):
            before = "" if part == "all" else f"{part}_"
            for system in self.systems:
                called = f"{before}{_short(system)}{metric}"
                found[called] = self.score(metric, system, part)
                intervals[called] = self.interval(metric, system, part)
                if system:
                    gain, *edges = self.gain(system, metric, part)
                    found[f"{called}_gain"], intervals[f"{called}_gain"] = gain, (edges[0], edges[1])
        found["sources_in_train"] = float(self.leaked)
        return found, intervals

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the rows with scores of their own: "new" where some sources, but not all, occur in train."""
        return PARTS if 0 < self.leaked < len(self.rows) else PARTS[:1]

    def to_pandas(self) -> pd.DataFrame:
        """A line for each row: ``row``, ``source``, ``truth``, ``output``, the other systems, ``in_train``, and its
        own chrF++; the worst first."""
        each = metrics.chrf(self._counts["chrf", ""])
        frame = pd.DataFrame(
            {
                "row": self.rows, "source": self.sources, "truth": self.references, "output": self.outputs,
                **{name: texts for name, texts in self.systems.items() if name},
                "in_train": self.in_train, "chrf": each,
            }
        )  # fmt: skip
        return frame.sort_values("chrf", kind="stable").reset_index(drop=True)

    def table(self) -> pd.DataFrame:
        """Score, interval and number of rows by system, part and metric, with the paired gain of the model."""
        lines = []
        for part in self.parts:
            for system in self.systems:
                line: dict[str, Any] = {
                    "part": part,
                    "system": system or "model",
                    "rows": int(self._here(part).sum()),
                }
                for metric in METRICS:
                    low, high = self.interval(metric, system, part)
                    line |= {
                        metric: self.score(metric, system, part),
                        f"{metric}_low": low,
                        f"{metric}_high": high,
                    }
                    if system:
                        names = (f"{metric}_gain", f"{metric}_gain_low", f"{metric}_gain_high")
                        line |= dict(zip(names, self.gain(system, metric, part), strict=True))
                lines.append(line)
        return pd.DataFrame(lines)

    def __repr__(self) -> str:
        lines = [
            _(
                "Translation report: {split}, {rows:,} rows, of which {leaked:,} have a source that occurs in train",
                split=self.split, rows=len(self.rows), leaked=self.leaked,
            )
        ]  # fmt: skip
        if self.sampled:
            lines.append(
                _(
                    "Scored on a random sample of {count} of {rows} rows.",
                    count=len(self.rows),
                    rows=self.sampled,
                )
            )
        return "\n".join([*map(str, lines), self.table().round(2).to_string(index=False), self.signature])

    def _repr_html_(self) -> str:
        frame = self.table().round(2).astype(object).where(lambda each: each.notna(), "")
        table = html.table(list(frame.columns), frame.to_numpy().tolist(), numeric=range(2, frame.shape[1]))
        return html.page(str(repr(self).split("\n")[0]), table, self.signature)

    # --- resamples ----------------------------------------------------------------------------------------------

    def _here(self, part: str) -> np.ndarray:
        if part not in PARTS:
            raise DataError(_("unknown part {part!r}; use all or new."), part=part)
        return ~self.in_train if part == "new" else np.ones(len(self.rows), bool)

    @cached_property
    def _counts(self) -> dict[tuple[str, str], np.ndarray]:
        found = {}
        for name, texts in self.systems.items():
            found["bleu", name] = metrics.bleu_statistics(texts, self.references, self.tokenizer)
            found["chrf", name] = metrics.chrf_statistics(texts, self.references)
        return found

    def _drawn(self, metric: str, system: str, part: str) -> np.ndarray:
        """The scores of all resamples; the same rows for every system and metric."""
        here = self._here(part)
        n = int(here.sum())
        if not n:
            return np.full(1, np.nan)
        counts = self._counts[metric, system][here]
        draws = np.random.default_rng(self.seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        sums = (draws @ counts.reshape(n, -1)).reshape(RESAMPLES, *counts.shape[1:])
        return _score(metric, sums)


def _score(metric: str, sums: np.ndarray) -> np.ndarray:
    return metrics.chrf(sums) if metric == "chrf" else metrics.bleu(sums)


def _short(system: str) -> str:
    return "" if not system else "memory_" if system == MEMORY else f"{system}_"


def translation_report(
    pipeline: TranslationPipeline,
    rows: Rows,
    split: str = "test",
    *,
    baselines: bool = True,
    most: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> TranslationReport:
    """Translate a split and compare with its references and with a translation memory of the training split.

    Args:
        pipeline: the model.
        rows: pairs of texts.
        split: which of them.
        most: rows that are translated at most; of more a sample. Default: 2,000, and 200 for large models.
        baselines: fit the translation memory.
        seed: of the sample and of the resamples.
        settings: those of :meth:`~labkit.TranslationPipeline.translate`.
    """
    part, train = rows[split], rows.splits.get("train")
    most = most or (MOST if pipeline.parameters < LARGE else MOST_OF_LARGE)
    if len(part) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(part), most, replace=False))
        part = part.select(chosen)
    sources, known = part["text"], [] if train is None else list(train["text"])
    length = min(pipeline.room, pipeline.max_length or pipeline.room)
    outputs = pipeline.translate(list(sources), **{"max_new_tokens": length, **settings})
    others = {}
    if baselines and train is not None and known and split != "train":
        others[MEMORY] = TranslationMemory(known, list(train["text_pair"])).translate(list(sources))
    report = TranslationReport(
        outputs, list(part["text_pair"]), list(sources), known if split != "train" else (), others,
        rows=part["row"], split=split, seed=seed,
    )  # fmt: skip
    report.sampled = len(rows[split]) if len(rows[split]) > most else 0
    return report
