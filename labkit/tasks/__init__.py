"""Tasks: head, loss and metrics."""

from labkit.core.registry import Registry
from labkit.i18n import _

tasks = Registry(
    _("task"),
    {
        "classify": "labkit.tasks.classify:Classify",
        "multilabel": "labkit.tasks.multilabel:MultiLabel",
        "regress": "labkit.tasks.regress:Regress",
        "lm": "labkit.tasks.lm:LanguageModel",
        "seq2seq": "labkit.tasks.seq2seq:Seq2Seq",
        "qa": "labkit.tasks.qa:Answer",
        "embed": "labkit.tasks.embed:Embed",
        "pretrain": "labkit.tasks.pretrain:Pretrain",
    },
)

#: The task of an experiment that names none.
DEFAULT = "classify"
#: The task that learns what is known of rows, by :attr:`labkit.data.schema.Spec.aim`.
BY_AIM = {"class": "classify", "labels": "multilabel", "number": "regress"}
