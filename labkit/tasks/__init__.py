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
        "seq2seq": "labkit.tasks.seq2seq:Seq2Seq",
        "qa": "labkit.tasks.qa:QuestionAnswering",
        "embed": "labkit.tasks.embed:Embed",
        "pretrain": "labkit.tasks.pretrain:Pretrain",
    },
    kind="tasks",
)

#: The task of an experiment that names none.
DEFAULT = "classify"
#: The default task by problem type, :attr:`labkit.data.schema.Spec.problem_type`.
BY_PROBLEM_TYPE = {"class": "classify", "labels": "multilabel", "number": "regress"}
