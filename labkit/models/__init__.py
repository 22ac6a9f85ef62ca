"""Architectures, one per file. Importing this package does not load JAX; looking up an architecture does."""

from __future__ import annotations

from labkit.core.registry import Registry
from labkit.i18n import _

models = Registry(
    _("architecture"),
    {
        "bert": "labkit.models.bert.model:BertConfig",
        "modernbert": "labkit.models.modernbert:ModernBertConfig",
        "textcnn": "labkit.models.text_cnn:TextCnnConfig",
        "gpt": "labkit.models.gpt.model:GptConfig",
        "transformer": "labkit.models.seq2seq.model:TransformerConfig",
        "mlp": "labkit.models.mlp:MlpConfig",
        "ft-transformer": "labkit.models.ft_transformer:FtTransformerConfig",
        "cnn": "labkit.models.vision.cnn:CnnConfig",
        "vgg": "labkit.models.vision.vgg:VggConfig",
        "efficientnet": "labkit.models.vision.efficientnet:EfficientNetConfig",
        "unet": "labkit.models.vision.unet:UNetConfig",
        "dit": "labkit.models.vision.dit:DiTConfig",
        "conformer": "labkit.models.conformer:ConformerConfig",
        "sasrec": "labkit.models.sasrec:SasRecConfig",
        "dlinear": "labkit.models.forecast.dlinear:DLinearConfig",
        "patchtst": "labkit.models.forecast.patchtst:PatchTstConfig",
    },
    kind="models",
    adapt="labkit.models.module:config_class",
)
