"""Writes the folders of ``kept`` with ``transformers``, and what its models answer:
``python -m tests.models.golden.make [name …]``.

Each is a tiny model with random weights. ``kept/<name>.npz`` holds its inputs and its outputs.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

KEPT = Path(__file__).parent / "kept"
_SIZES = {"vocab_size": 24, "hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2,
          "num_attention_heads": 4, "max_position_embeddings": 32}  # fmt: skip
_DECODER = {**_SIZES, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_LLAMA3 = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0,
           "original_max_position_embeddings": 16}  # fmt: skip
#: Name → class of transformers, settings of its config.
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama3": ("LlamaForCausalLM", {**_DECODER, "head_dim": 8, "rope_parameters": _LLAMA3}),
    "linear": ("LlamaForCausalLM", {**_DECODER, "rope_parameters": {"rope_type": "linear", "rope_theta": 50.0,
                                                                     "factor": 3.0}}),
    "qwen2": ("Qwen2ForCausalLM", {**_DECODER, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForCausalLM", {**_DECODER, "head_dim": 6, "tie_word_embeddings": False}),
}  # fmt: skip
_ENCODER = {**_SIZES, "vocab_size": 40, "pad_token_id": 0}
_DISTIL = {"vocab_size": 40, "dim": 16, "hidden_dim": 12, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 32,
           "pad_token_id": 0}  # fmt: skip
_ROBERTA = {**_ENCODER, "type_vocab_size": 1, "pad_token_id": 1}
_NAMES = {0: "bad", 1: "good", 2: "so so"}
_MODERN = {
    **_ENCODER,
    "num_hidden_layers": 4,
    "local_attention": 4,
    "global_attn_every_n_layers": 3,
    "bos_token_id": 2,
    "cls_token_id": 2,
    "eos_token_id": 3,
    "sep_token_id": 3,
}
#: Encoders without a head.
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {"modernbert": ("ModernBertModel", _MODERN)}
CLASSIFIERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-classes": ("BertForSequenceClassification", {**_ENCODER, "id2label": _NAMES}),
    "bert-one": ("BertForSequenceClassification", {**_ENCODER, "id2label": {0: "relevant"}}),
    "roberta-labels": ("RobertaForSequenceClassification", {**_ROBERTA, "id2label": _NAMES,
                                                            "problem_type": "multi_label_classification"}),
    "distilbert-numbers": ("DistilBertForSequenceClassification", {**_DISTIL, "id2label": {0: "length", 1: "price"},
                                                                   "problem_type": "regression"}),
    "modernbert-first": ("ModernBertForSequenceClassification", {**_MODERN, "id2label": _NAMES}),
    "modernbert-mean": ("ModernBertForSequenceClassification", {**_MODERN, "id2label": _NAMES,
                                                                "classifier_pooling": "mean"}),
}  # fmt: skip
_LONG = {"max_position_embeddings": 66}
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-answers": ("BertForQuestionAnswering", {**_ENCODER, **_LONG}),
    "roberta-answers": ("RobertaForQuestionAnswering", {**_ROBERTA, **_LONG}),
}
MASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-masked": ("BertForMaskedLM", _ENCODER),
    "distilbert-masked": ("DistilBertForMaskedLM", _DISTIL),
    "modernbert-masked": ("ModernBertForMaskedLM", _MODERN),
}
#: Name → folder of the base model, class of transformers, settings of PEFT's LoraConfig.
ADAPTERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "adapter-qwen2": ("qwen2", "Qwen2ForCausalLM", {
        "r": 2, "lora_alpha": 6, "use_rslora": True, "task_type": "CAUSAL_LM", "target_modules": ["q_proj", "up_proj"],
        "rank_pattern": {"up_proj": 3}, "alpha_pattern": {"up_proj": 5},
    }),
    "adapter-bert": ("bert-masked", "BertForSequenceClassification", {
        "r": 2, "lora_alpha": 4, "task_type": "SEQ_CLS", "target_modules": ["query", "value"],
        "modules_to_save": ["classifier", "pooler.dense"],
    }),
}  # fmt: skip
CASES = {**DECODERS, **ENCODERS, **CLASSIFIERS, **READERS, **MASKED}
_WORDS = """the a film plot actors was were not there great dull what and so , . ! ? t h e f i l m g r ##s ##e ##m ##r
##o"""
TEXTS = ("the film was great", "a dull plot", "great, great actors!", "", "words that nobody knows")
PAIRS = (("the film", "was great"), ("a dull plot", "the actors were not there"))
QUESTIONS = (
    ("what was dull?", "the plot was dull and the film was not great."),
    ("what?", "great actors, dull film"),
)


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """Ids and which are real, [3, 20]."""
    ids = np.random.default_rng(0).integers(3, 24, (3, 20))
    real = np.arange(20) < np.array([[20], [5], [13]])
    return np.where(real, ids, 0), real


def make_adapter(name: str) -> None:
    """Write a PEFT adapter and the logits of its model for :func:`inputs`."""
    import peft
    import torch
    import transformers

    torch.manual_seed(1)
    base, kind, settings = ADAPTERS[name]
    known = {} if base == "qwen2" else {"num_labels": 3}
    model = peft.get_peft_model(
        getattr(transformers, kind).from_pretrained(KEPT / base, **known), peft.LoraConfig(**settings)
    ).eval()
    with torch.no_grad():
        for each, parameter in model.named_parameters():
            if "lora_" in each or "modules_to_save" in each:
                parameter.add_(0.3 * torch.randn_like(parameter))
    shutil.rmtree(KEPT / name, ignore_errors=True)
    model.save_pretrained(KEPT / name)
    (KEPT / name / "README.md").unlink()
    config = json.loads((KEPT / name / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"../{base}"
    (KEPT / name / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    ids, real = inputs()
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(real.astype(np.int64))
        ).logits.numpy()
    np.savez_compressed(KEPT / f"{name}.npz", ids=ids, real=real, logits=logits)


def make(name: str) -> None:
    """Write a model and its answers."""
    import torch
    import transformers

    torch.manual_seed(list(CASES).index(name))
    kind, settings = CASES[name]
    cls = getattr(transformers, kind)
    model = cls(cls.config_class(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    shutil.rmtree(KEPT / name, ignore_errors=True)
    model.save_pretrained(KEPT / name)
    if name in DECODERS:
        ids, real = inputs()
        given = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(real.astype(np.int64))}
        written = model.generate(given["input_ids"][:1], max_new_tokens=8, do_sample=False, eos_token_id=None)
        logits = model(**given).logits.detach().numpy()
        np.savez_compressed(
            KEPT / f"{name}.npz", ids=ids, real=real, logits=logits, written=written[:, 20:].numpy()
        )
        return
    if name in ENCODERS:
        ids, real = inputs()
        hidden = (
            model(torch.tensor(ids), torch.tensor(real.astype(np.int64))).last_hidden_state.detach().numpy()
        )
        np.savez_compressed(KEPT / f"{name}.npz", ids=ids, real=real, hidden=hidden)
        return
    spell = tokenizer(model)
    spell.save_pretrained(KEPT / name)
    if name in CLASSIFIERS:
        ask = transformers.pipeline("text-classification", model=model, tokenizer=spell, top_k=None)
        pairs = [{"text": text, "text_pair": pair} for text, pair in PAIRS]
        found: Any = []
        for given in (*TEXTS, *pairs):
            answers = ask(given)
            answers = answers[0] if isinstance(answers[0], list) else answers
            found.append({each["label"]: each["score"] for each in answers})
    elif name in MASKED:
        ask = transformers.pipeline("fill-mask", model=model, tokenizer=spell, top_k=5)
        text = f"the {spell.mask_token} was great"
        found = [[each["token_str"], each["score"]] for each in ask(text)]
    else:
        found = [answer(model, spell, question, paragraph) for question, paragraph in QUESTIONS]
    (KEPT / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def answer(model: Any, spell: Any, question: str, paragraph: str) -> list[Any]:
    """Begin and end of the likeliest answer in a paragraph, and its probability, by the rules of the
    question-answering pipeline of transformers 4: softmax over the tokens of the paragraph and the first one."""
    made = spell(question, paragraph, return_tensors="pt", return_offsets_mapping=True)
    spans = made.pop("offset_mapping")[0].tolist()
    inside = np.array([each == 1 for each in made.sequence_ids(0)])
    out = model(**made)
    chances = []
    for logits in (out.start_logits, out.end_logits):
        shifted = np.where(
            inside | (np.arange(len(inside)) == 0), logits.detach().numpy()[0].astype(np.float64), -1e9
        )
        odds = np.exp(shifted - shifted.max())
        chances.append(odds / odds.sum())
    best = max(
        (chances[0][i] * chances[1][j], i, j)
        for i in np.flatnonzero(inside) for j in np.flatnonzero(inside) if i <= j < i + 15
    )  # fmt: skip
    return [spans[best[1]][0], spans[best[2]][1], float(best[0])]


def tokenizer(model: Any) -> Any:
    """A WordPiece of 40 pieces, with the special tokens of BERT or RoBERTa."""
    import tokenizers
    import transformers
    from tokenizers import decoders, normalizers, pre_tokenizers, processors

    roberta, types = model.config.model_type == "roberta", model.config.model_type == "bert"
    pad, unk, begin, end, mask = ("<pad>", "<unk>", "<s>", "</s>", "<mask>") if roberta else (
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # fmt: skip
    special = [begin, pad, end, unk, mask] if roberta else [pad, unk, begin, end, mask]
    words = _WORDS.split()  # fmt: skip
    pieces = {piece: place for place, piece in enumerate([*special, *words])}
    rust = tokenizers.Tokenizer(tokenizers.models.WordPiece(pieces, unk_token=unk))
    rust.normalizer, rust.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece()
    form = processors.RobertaProcessing if roberta else processors.BertProcessing
    rust.post_processor = form((end, pieces[end]), (begin, pieces[begin]))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=rust, pad_token=pad, unk_token=unk, cls_token=begin, sep_token=end, mask_token=mask,
        model_max_length=model.config.max_position_embeddings - 2 * roberta,
        model_input_names=["input_ids", "attention_mask", *(["token_type_ids"] if types else [])],
    )  # fmt: skip


if __name__ == "__main__":
    for each in sys.argv[1:] or (*CASES, *ADAPTERS):
        (make_adapter if each in ADAPTERS else make)(each)
