"""The file `labkit.json` of a model folder: what an example is, its shape, and the names of the outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from labkit.core.errors import WeightsError
from labkit.core.safety import small_text
from labkit.i18n import _
from labkit.models.base import Modality

NAME = "labkit.json"


@dataclass(frozen=True)
class ModelFacts:
    """What a model folder is for.

    Attributes:
        classes: names of the outputs.
        modality: what an example is.
        shape: of an example; empty for texts.
        offset: bias of the last layer in more digits than float32 keeps; None where that is enough.
    """

    classes: tuple[str, ...]
    modality: Modality
    shape: tuple[int, ...]
    offset: list[float] | None = None


def read_facts(folder: Path) -> ModelFacts:
    """The facts of a model folder.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        facts = json.loads(small_text(folder / NAME, WeightsError))
        found = facts.get("offset")
        whole = isinstance(found, list) and all(isinstance(value, float) for value in found)
        return ModelFacts(
            tuple(map(str, facts["classes"])), Modality(facts["reads"]), tuple(map(int, facts["shape"])),
            found if whole else None,
        )  # fmt: skip
    except WeightsError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WeightsError(
            _("{facts} of {folder!r} lists no classes: {error!r}. Export the model again."),
            facts=NAME, folder=folder.name, error=error,
        ) from None  # fmt: skip
