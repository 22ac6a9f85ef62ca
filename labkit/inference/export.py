"""A trained model as a folder of its own, which other programs read as labkit does; its README.md says how."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from labkit.core.errors import ConfigError
from labkit.i18n import _
from labkit.models import weights
from labkit.models.bert import sentence
from labkit.tasks import tasks
from labkit.tasks.pretrain import Pretrain
from labkit.train.context import FACTS
from labkit.train.experiment import Experiment

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


def export(experiment: Experiment, model: Path, folder: Path) -> Path:
    """Copy the folder of a run's model to another one, with a README.md.

    Raises:
        ConfigError: ``folder`` is not empty, or other programs would read this model otherwise than labkit.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(_("{folder!r} is not empty; give a new folder."), folder=str(folder))
    _check(experiment, model)
    shutil.copytree(model, folder, dirs_exist_ok=True)
    _write_readme(experiment, folder)
    return folder


def _check(experiment: Experiment, folder: Path) -> None:
    """Raise :class:`ConfigError` where other programs would read a model otherwise than labkit does."""
    task, model = experiment.task, experiment.model
    if not model.published or (folder / sentence.MODULES).exists():
        return
    if "score.bias" in (stored := weights.Tensors(folder)):
        raise ConfigError(
            _("the head of this model has a bias ({bias}), and that of transformers has none for {family!r}. "
              "Train with family = 'gpt2' and not more outputs than the width, or subtract the mean from the "
              "target. lk.Predictor opens the run's own model."),
            bias=", ".join(f"{value:.6g}" for value in stored["score.bias"][:5]), family=model.family,
        )  # fmt: skip
    if isinstance(task, Pretrain) and task.next_sentence and model.pooled_by != "cls":
        raise ConfigError(
            _("next_sentence was trained with pooling = {pooling!r}, and transformers has that head on the "
              "pooler alone. Train with pooling = 'cls', or with next_sentence = False."),
            pooling=model.pooling,
        )  # fmt: skip


def _write_readme(experiment: Experiment, folder: Path) -> None:
    classes = json.loads((folder / FACTS).read_text(encoding="utf-8"))["classes"]
    lines = [f"# {experiment.name or experiment.model.modality + ' model'}", ""]
    lines += [f"Task: `{tasks.name_of(experiment.task)}`. Trained with labkit; `labkit.toml` holds every setting.", ""]
    if classes:
        listed = (f"{place}. {_shown(name)}" for place, name in enumerate(classes))
        lines += ["Outputs, in their order:", "", *listed, ""]
    if steps := "; ".join(", ".join(pipeline.steps) for pipeline in experiment.data.cleaning):
        lines += [
            f"The training texts were cleaned ({steps}). labkit cleans new texts alike. Other programs do not: give "
            "them texts that went through `labkit.TextCleaner` with these steps.",
            "",
        ]
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
    if experiment.task.problem_type:
        ways.append(("labkit", 'import labkit as lk\n\nlk.Predictor("{folder}").predict([...])'))
    if (folder / sentence.MODULES).exists():
        what = "vectors" if experiment.task.pooled_vectors else "logits, in the order above"
        code = (
            "from sentence_transformers import SentenceTransformer\n\n"
            f'SentenceTransformer("{{folder}}").encode([...])  # {what}'
        )
        ways.append(("sentence-transformers", code))
    elif name := _auto(folder):
        code = (
            f"from transformers import AutoTokenizer, {name}\n\n"
            'tokenizer = AutoTokenizer.from_pretrained("{folder}")\n'
            f'model = {name}.from_pretrained("{{folder}}")'
        )
        ways.append(("transformers", code))
    return ways


def _auto(folder: Path) -> str:
    """The class of transformers that opens a folder; "" where there is none."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = next(iter(config.get("architectures") or ()), "")
    return next((auto for end, auto in _CLASSES.items() if named.endswith(end)), "")
