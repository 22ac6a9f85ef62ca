"""The README.md of an exported model: what it is, what its outputs are called, and how other programs open it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from labkit.models import sentence
from labkit.tasks import tasks
from labkit.tasks.embed import Embed
from labkit.train.experiment import Experiment
from labkit.train.setup import FACTS

#: Beginning of the class named in config.json → how transformers opens it.
_CLASSES = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "ForPreTraining": "AutoModelForPreTraining",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "MTModel": "AutoModelForSeq2SeqLM",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
    "Model": "AutoModel",
}


def write(experiment: Experiment, folder: Path) -> None:
    """Write ``README.md`` into the folder of an exported model."""
    classes = json.loads((folder / FACTS).read_text(encoding="utf-8"))["classes"]
    lines = [f"# {experiment.name or experiment.model.reads + ' model'}", ""]
    lines += [f"Task: `{tasks.name_of(experiment.task)}`. Trained with labkit; `labkit.toml` holds every setting.", ""]
    if classes:
        listed = (f"{place}. {_shown(name)}" for place, name in enumerate(classes))
        lines += ["Outputs, in their order:", "", *listed, ""]
    for title, code in _ways(experiment, folder):
        lines += [f"## {title}", "", "```python", code.format(folder="this folder"), "```", ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _shown(name: str) -> str:
    """A class name as Markdown shows it: as code, in a fence longer than any run of backticks in it."""
    fence = "`" * (1 + max(map(len, re.findall("`+", name)), default=0))
    space = " " if len(fence) > 1 else ""
    return f"{fence}{space}{' '.join(name.split())}{space}{fence}"


def _ways(experiment: Experiment, folder: Path) -> list[tuple[str, str]]:
    ways: list[tuple[str, str]] = []
    if experiment.task.labelled:
        ways.append(("labkit", 'import labkit as lk\n\nlk.Predictor("{folder}").predict([...])'))
    if (folder / sentence.MODULES).exists():
        what = "vectors" if isinstance(experiment.task, Embed) else "logits, in the order above"
        code = (
            "from sentence_transformers import SentenceTransformer\n\n"
            f'SentenceTransformer("{{folder}}").encode([...])  # {what}'
        )
        ways.append(("sentence-transformers", code))
    elif name := _auto(folder):
        code = (
            f"from transformers import AutoTokenizer, {name}\n\n"
            f'tokenizer, model = AutoTokenizer.from_pretrained("{{folder}}"), {name}.from_pretrained("{{folder}}")'
        )
        ways.append(("transformers", code))
    return ways


def _auto(folder: Path) -> str:
    """The class of transformers that opens a folder; "" where there is none."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = next(iter(config.get("architectures") or ()), "")
    return next((auto for end, auto in _CLASSES.items() if named.endswith(end)), "")
