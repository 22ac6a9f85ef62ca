"""Loaded rows with their preparation steps: clean, relabel, correct labels, split, dedupe and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.core.config import checked_seed, known_settings
from labkit.core.errors import DataError
from labkit.data import croissant, memmap, recipe
from labkit.data.dataset import SplitDataset
from labkit.data.prepare import classes, corrections, pii, split
from labkit.data.prepare import dedupe as duplicates
from labkit.data.prepare.clean import TextCleaner
from labkit.data.report import Note
from labkit.data.series import BY_TIME
from labkit.i18n import _

if TYPE_CHECKING:
    import pandas as pd


class Rows(SplitDataset):
    """Examples in named splits (see :class:`~labkit.data.dataset.SplitDataset`); immutable."""

    def clean(self, pipeline: TextCleaner | tuple[str, ...] | None = None, **settings: object) -> Rows:
        """Apply a cleaning ``pipeline`` (or named steps) to all texts; the report lists the changes.

        ``settings`` are those of ``TextCleaner``.
        """
        if not isinstance(pipeline, TextCleaner):
            pipeline = TextCleaner.from_dict(
                {**({} if pipeline is None else {"steps": tuple(pipeline)}), **settings}
            )
        usual = TextCleaner().to_dict()
        given = {
            key: value for key, value in pipeline.to_dict().items() if key == "steps" or value != usual[key]
        }
        return pipeline.apply(self)._did("clean", given)

    def relabel(self, names: Mapping[str, str] | None = None, drop: Sequence[str] = ()) -> Rows:
        """Rename, merge and drop labels; see :func:`labkit.data.prepare.classes.relabel`."""
        given = {**({"names": dict(names)} if names else {}), **({"drop": list(drop)} if drop else {})}
        return classes.relabel(self, **given)._did("relabel", given)

    def correct_labels(
        self,
        labels: Mapping[Any, str] | None = None,
        confirmed: Sequence[int] = (),
        was: Mapping[Any, str] | None = None,
        add: Sequence[str] = (),
    ) -> Rows:
        """Change, add or confirm labels of single rows: ``rows.correct_labels({12: "positive"})``; see
        :func:`labkit.data.prepare.corrections.correct_labels`. :func:`labkit.find_label_issues` finds doubtful
        ones."""
        made = corrections.correct_labels(self, labels, confirmed, was, add)
        changed = corrections.by_row(labels)
        before = corrections.labels_before(self, [*changed, *confirmed])
        given: dict[str, Any] = {
            "labels": {str(row): label for row, label in changed.items()},
            "confirmed": [int(row) for row in confirmed],
            "was": {str(row): label for row, label in before.items()},
            "add": list(add),
        }
        return made._did("correct_labels", {name: value for name, value in given.items() if value})

    def find_pii(self) -> pd.DataFrame:
        """Personal data in the texts: a line with split, row, column, kind and place for each finding; see
        :func:`labkit.data.prepare.pii.table`. ``rows.clean(("pii",))`` replaces them by a word."""
        return pii.table(self)

    def save_croissant(self, folder: str | Path, **about: str) -> Path:
        """Write Parquet files with a data card in Croissant (JSON-LD); see
        :func:`labkit.data.croissant.save_croissant`."""
        return croissant.save_croissant(self, folder, **about)

    def suggest_merges(self) -> dict[str, str]:
        """Labels that are probably others misspelt, for :meth:`relabel`: ``{"postive": "positive"}``; see
        :func:`labkit.data.prepare.classes.suggestions`."""
        return {each.label: each.into for each in classes.suggestions(self)}

    def split(self, **settings: Any) -> Rows:
        """Split into train, validation and test; see :func:`labkit.data.prepare.split.split`."""
        return split.split(self, **settings)._did("split", settings)

    def dedupe(self, **settings: Any) -> Rows:
        """Remove duplicate texts; see :func:`~labkit.data.prepare.dedupe.dedupe`."""
        self._check_whole("dedupe")
        return duplicates.dedupe(self, **settings)._did("dedupe", settings)

    @recipe.recorded
    @known_settings
    def sample(self, n: int, seed: int = 0) -> Rows:
        """Sample ``n`` rows of each split (or all if fewer) without replacement, in their original order."""
        self._check_whole("sample")
        drawn, seed = {}, checked_seed(seed)
        for name, dataset in self.splits.items():
            order = np.random.Generator(np.random.Philox(seed)).permutation(len(dataset))
            drawn[name] = memmap.chosen(dataset, np.sort(order[:n]))
        left = len(self) - sum(map(len, drawn.values()))
        note = Note(
            None,
            None,
            "counted",
            _("excluded by sampling"),
            _("{left:,} of {total:,} rows, seed {seed}", left=left, total=len(self), seed=seed),
        )
        return self.with_splits(drawn, [note])._did("sample", {"n": n, "seed": seed})

    def _check_whole(self, step: str) -> None:
        """Raise :class:`DataError` for time series, of which a step would take rows away."""
        if self.schema.modality in BY_TIME:
            raise DataError(
                _(
                    "rows.{step}() would leave gaps in series or histories; load the times that you need instead."
                ),
                step=step,
            )

    def _did(self, step: str, settings: dict[str, Any]) -> Rows:
        """The same rows, their source naming one more step, so that an experiment can do it again."""
        made = replace(
            self,
            source={
                **self.source,
                "steps": [*self.source.get("steps", ()), {"do": step, **recipe.plain(settings)}],
            },
        )
        made.__dict__.update(
            {name: value for name, value in self.__dict__.items() if name in ("spec", "fingerprint")}
        )
        return made
