"""Export of a trained model to a folder that other libraries load, with a README."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from labkit.core.errors import ConfigError
from labkit.hub.card import front_matter
from labkit.i18n import _
from labkit.models import weights
from labkit.models.bert import sentence
from labkit.tasks import tasks
from labkit.tasks.asr import SpeechRecognition
from labkit.tasks.base import ProblemType
from labkit.tasks.forecast import Forecast
from labkit.tasks.generate_images import GenerateImages
from labkit.tasks.pretrain import Pretrain
from labkit.tasks.qa import THRESHOLD
from labkit.tasks.recommend import Recommend
from labkit.tasks.segment import Segment
from labkit.train.experiment import Experiment
from labkit.train.model_facts import NAME as FACTS

#: Beginning of the class named in config.json → how transformers opens it.
_CLASSES = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForPreTraining": "AutoModelForPreTraining",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "MTModel": "AutoModelForSeq2SeqLM",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
    "Model": "AutoModel",
}
#: Steps of float32 at the bias of a regression that are worth a note, as a share of the size of its kernel.
COARSE = 1e-4


def export(experiment: Experiment, model: Path, folder: Path, card: str = "") -> Path:
    """Copy the folder of a run's model to another one, with a README.md.

    Args:
        experiment: of the run.
        model: folder of its model.
        folder: a new one.
        card: Markdown of a model card (:func:`labkit.evaluate.card.model_card`), which comes first in the README.md.

    Raises:
        ConfigError: ``folder`` is not empty, or other programs would read this model otherwise than labkit.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(_("{folder!r} is not empty; give a new folder."), folder=str(folder))
    _check(experiment, model)
    shutil.copytree(model, folder, dirs_exist_ok=True)
    _write_readme(experiment, folder, card)
    return folder


def _check(experiment: Experiment, folder: Path) -> None:
    """Raise :class:`ConfigError` where other programs would read a model otherwise than labkit does."""
    task, model = experiment.task, experiment.model
    if not model.published or (folder / sentence.MODULES).exists():
        return
    if "score.bias" in (stored := weights.Tensors(folder)):
        raise ConfigError(
            _(
                "the head of this model has a bias ({bias}), which transformers does not support for "
                "{family!r}. Train with family = 'gpt2' and at most as many outputs as the width, or "
                "subtract the mean from the target. lk.Predictor loads the run's own model."),
            bias=", ".join(f"{value:.6g}" for value in stored["score.bias"][:5]), family=model.family,
        )  # fmt: skip
    if isinstance(task, Pretrain) and task.next_sentence and model.pooled_by != "cls":
        raise ConfigError(
            _(
                "next_sentence was trained with pooling = {pooling!r}, but transformers supports this "
                "head only on the pooler. Train with pooling = 'cls' or next_sentence = False."),
            pooling=model.pooling,
        )  # fmt: skip


def _write_readme(experiment: Experiment, folder: Path, card: str) -> None:
    classes = json.loads((folder / FACTS).read_text(encoding="utf-8"))["classes"]
    lines = [card, "## Files and formats", ""]
    if not card:
        head = front_matter(experiment.name or "model", library="labkit", tags=["labkit", "jax"])
        lines = [head, f"# {experiment.name or experiment.model.modality + ' model'}", ""]
    lines += [
        f"Task: `{tasks.name_of(experiment.task)}`. Trained with labkit; `labkit.toml` holds every setting.",
        "",
    ]
    if classes:
        listed = (f"{place}. {_shown(name)}" for place, name in enumerate(classes))
        lines += ["Outputs, in their order:", "", *listed, ""]
    if steps := "; ".join(", ".join(pipeline.steps) for pipeline in experiment.data.cleaning):
        lines += [
            f"The training texts were cleaned ({steps}). labkit cleans new texts alike. Other programs do not: give "
            "them texts that went through `labkit.TextCleaner` with these steps.",
            "",
        ]
    lines += [line for note in _coarse(experiment, folder, classes) for line in (note, "")]
    if (threshold := _no_answer_threshold(folder)) is not None:
        lines += [
            "A question has no answer where the start and end logits of the first token, added, are greater than those "
            f"of the best span by more than {threshold:.6g}, the threshold of the greatest F1 on the validation rows.",
            "",
        ]
    if not card:
        lines += [line for way in ways_to_open(experiment, folder) for line in (way, "")]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _shown(name: str) -> str:
    """A class name as Markdown shows it: as code, in a fence longer than any run of backticks in it."""
    fence = "`" * (1 + max(map(len, re.findall("`+", name)), default=0))
    space = " " if len(fence) > 1 else ""
    return f"{fence}{space}{' '.join(name.split())}{space}{fence}"


def ways_to_open(experiment: Experiment, folder: Path) -> Iterator[str]:
    """Markdown of the code that opens an exported folder, a library at a time."""
    for title, code in _ways(experiment, folder):
        yield f"## {title}\n\n```python\n{code.format(folder='this folder')}\n```"


def _ways(experiment: Experiment, folder: Path) -> list[tuple[str, str]]:
    ways: list[tuple[str, str]] = []
    if experiment.task.problem_type:
        ways.append(("labkit", 'import labkit as lk\n\nlk.Predictor("{folder}").predict([...])'))
    if isinstance(experiment.task, Forecast):
        ways.append(("labkit", 'import labkit as lk\n\nlk.ForecastPipeline("{folder}").forecast("past.csv")'))
    if isinstance(experiment.task, Segment):
        ways.append(
            ("labkit", 'import labkit as lk\n\nlk.SegmentationPipeline("{folder}").segment("picture.png")')
        )
    if isinstance(experiment.task, GenerateImages):
        ways.append(("labkit", 'import labkit as lk\n\nlk.ImageGenerationPipeline("{folder}").generate(8)'))
    if isinstance(experiment.task, SpeechRecognition):
        ways.append(
            (
                "labkit",
                'import labkit as lk\n\nlk.SpeechRecognitionPipeline("{folder}").transcribe("sound.wav")',
            )
        )
    if isinstance(experiment.task, Recommend):
        ways.append(
            ("labkit", 'import labkit as lk\n\nlk.RecommendPipeline("{folder}").recommend(["an item"])')
        )
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


def _coarse(experiment: Experiment, folder: Path, classes: list[str]) -> Iterator[str]:
    """What to know of numbers whose mean is so large that float32, in which other programs add it, rounds
    answers."""
    if experiment.task.problem_type is not ProblemType.NUMBER or not experiment.model.published:
        return
    bias = json.loads((folder / FACTS).read_text(encoding="utf-8")).get("offset", [])
    kernel, _unused = experiment.model.load_classifier(folder)
    for name, mean, size in zip(classes, bias, np.linalg.norm(kernel, axis=0), strict=False):
        step = np.spacing(np.float32(abs(mean)))
        if step > COARSE * size:
            yield (
                f"{_shown(name)}: float32 numbers near {mean:.6g} are {step:g} apart. Other programs add the bias of "
                "the last layer in float32, so their answers move in such steps; labkit adds it in float64."
            )


def _no_answer_threshold(folder: Path) -> float | None:
    """The threshold of a model that was trained on questions without an answer; None for all others."""
    if not (config := folder / "config.json").exists():
        return None
    return json.loads(config.read_text(encoding="utf-8")).get(THRESHOLD)


def _auto(folder: Path) -> str:
    """The class of transformers that opens a folder; "" where there is none."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = next(iter(config.get("architectures") or ()), "")
    return next((auto for end, auto in _CLASSES.items() if named.endswith(end)), "")
