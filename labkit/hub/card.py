"""Metadata of model cards: the YAML at the head of a README.md that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCardData

from labkit.core.errors import ConfigError, nearest
from labkit.i18n import _

#: Licences that the hub knows by name (the usual ones); any other is "other" with a name of its own.
LICENCES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "openrail", "unlicense", "other",
)  # fmt: skip
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class Score(NamedTuple):
    """A score of the model on a split of a data set."""

    metric: str
    value: float
    dataset: str
    split: str


def front_matter(
    name: str,
    *,
    library: str,
    pipeline: str = "",
    tags: Sequence[str] = (),
    base_model: str = "",
    licence: str = "",
    language: str = "",
    scores: Sequence[Score] = (),
    more: Mapping[str, Any] | None = None,
) -> str:
    """The YAML block of a model card, with its lines of dashes.

    Args:
        name: of the model.
        library: that opens it: "labkit", "transformers" or "sentence-transformers".
        pipeline: task of the hub, such as "text-classification".
        tags: words to find it by.
        base_model: repository of the weights that were trained further; other names are left out.
        licence: of the model, as the hub writes it.
        language: of its texts, such as "en".
        scores: evaluation results.
        more: further fields.

    Raises:
        ConfigError: an unknown licence.
    """
    licence = licence.strip().lower()
    if licence and licence not in LICENCES:
        raise ConfigError(
            _("licence = {licence!r} is not a licence of the hub.{hint} The usual ones: {known}."),
            licence=licence, hint=nearest(licence, LICENCES), known=", ".join(LICENCES),
        )  # fmt: skip
    results = [
        EvalResult(
            task_type=pipeline or "other", dataset_type=each.dataset, dataset_name=each.dataset,
            dataset_split=each.split, metric_type=each.metric, metric_value=round(each.value, 6),
        )
        for each in scores
    ]  # fmt: skip
    known = _HUB_NAME.fullmatch(base_model.partition("@")[0])
    data = ModelCardData(
        library_name=library, pipeline_tag=pipeline or None, tags=list(tags) or None, license=licence or None,
        base_model=known[0] if known else None, language=language or None, eval_results=results or None,
        model_name=name if results else None, **(more or {}),
    )  # fmt: skip
    return f"---\n{data.to_yaml()}\n---\n"
