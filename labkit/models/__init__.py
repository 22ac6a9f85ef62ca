"""Architectures, one a file. Importing this package loads no JAX; looking an architecture up does."""

from __future__ import annotations

from labkit.base.registry import Registry
from labkit.i18n import _

models = Registry(
    _("architecture"),
    {
        "bert": "labkit.models.bert:BertConfig",
        "textcnn": "labkit.models.textcnn:TextCnnConfig",
        "gpt": "labkit.models.gpt:GptConfig",
        "transformer": "labkit.models.transformer:TransformerConfig",
        "mlp": "labkit.models.mlp:MlpConfig",
        "cnn": "labkit.models.cnn:CnnConfig",
        "vgg": "labkit.models.vgg:VggConfig",
    },
)
