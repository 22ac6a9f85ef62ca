"""Tasks: head, loss and metrics."""

from labkit.core.registry import Registry
from labkit.i18n import _

tasks = Registry(
    _("task"),
    {
        "classify": "labkit.tasks.classify:Classify",
        "distill": "labkit.tasks.distill:Distill",
        "multilabel": "labkit.tasks.multilabel:MultiLabel",
        "regress": "labkit.tasks.regress:Regress",
        "lm": "labkit.tasks.lm:LanguageModel",
        "instruct": "labkit.tasks.instruct:Instruct",
        "seq2seq": "labkit.tasks.seq2seq:Seq2Seq",
        "qa": "labkit.tasks.qa:QuestionAnswering",
        "tag": "labkit.tasks.tag:TokenClassification",
        "segment": "labkit.tasks.segment:Segment",
        "generate-images": "labkit.tasks.generate_images:GenerateImages",
        "embed": "labkit.tasks.embed:Embed",
        "pretrain": "labkit.tasks.pretrain:Pretrain",
        "asr": "labkit.tasks.asr:SpeechRecognition",
        "recommend": "labkit.tasks.recommend:Recommend",
        "forecast": "labkit.tasks.forecast:Forecast",
    },
    kind="tasks",
)

#: Metrics of which less is better.
LOWER = ("loss", "mae", "rmse", "mse", "cer", "wer")
#: The task of an experiment that names none.
DEFAULT = "classify"
#: The default task by problem type, :attr:`labkit.data.schema.Spec.problem_type`.
BY_PROBLEM_TYPE = {"class": "classify", "labels": "multilabel", "number": "regress"}
#: The default task of rows that have no other: by modality.
BY_MODALITY = {"series": "forecast", "interactions": "recommend"}


def default_task(modality: str, problem_type: str, masks: bool = False, transcribed: bool = False) -> str:
    """The default task of rows; ``masks``: of pictures with a class for every pixel; ``transcribed``: they are sounds
    with transcripts."""
    if masks or transcribed:
        return "segment" if masks else "asr"
    return BY_MODALITY.get(modality) or BY_PROBLEM_TYPE[problem_type]
