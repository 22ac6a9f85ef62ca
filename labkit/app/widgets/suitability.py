"""Whether a model suits the rows: random weights and few rows, tokens that the vocabulary lacks, texts that are cut."""

from __future__ import annotations

from collections.abc import Iterator

from labkit.data.text.tokens import Tokens
from labkit.hub.samples import SAMPLES
from labkit.i18n import Message
from labkit.models.base import ModelConfig
from labkit.train.cost_preview import CostPreview
from labkit.viz.words import message

#: Rows below which a Transformer that starts from random weights learns little.
FEW = 5000
#: Shares of unknown tokens and of truncated texts from which on they are named.
UNKNOWN, CUT = 0.05, 0.05


def pretrained_presets(kind: type[ModelConfig]) -> list[str]:
    """Presets that bring weights."""
    return [name for name, preset in kind.PRESETS.items() if preset.get("weights")]


def warnings_of(model: ModelConfig, preview: CostPreview) -> Iterator[Message]:
    """What speaks against training this model on the rows of the preview."""
    count = len(preview.examples)
    weights = pretrained_presets(type(model))
    if weights and not model.weights and count < FEW:
        yield message("random_weights", rows=f"{count:,}", preset=weights[0])
    tokens, tokenizer = preview.examples, preview.tokenizer
    if not isinstance(tokens, Tokens) or tokenizer is None or not len(tokens):
        return
    if (share := unknown_share(tokens, tokenizer.unk_id)) > UNKNOWN:
        multilingual = next((name for name in weights if _is_multilingual(name)), "")
        key = (
            "unknown_tokens_multilingual"
            if multilingual and multilingual != model.preset
            else "unknown_tokens"
        )
        yield message(key, share=f"{share:.0%}", preset=multilingual)
    if (cut := tokens.truncated / len(tokens)) > CUT:
        yield message("texts_cut", share=f"{cut:.0%}")


def unknown_share(tokens: Tokens, unknown: int | None) -> float:
    """The share of the tokens of texts that the vocabulary lacks."""
    return 0.0 if unknown is None or not len(tokens.ids) else float((tokens.ids == unknown).mean())


def _is_multilingual(preset: str) -> bool:
    return preset in SAMPLES and SAMPLES[preset].language == "multilingual"
