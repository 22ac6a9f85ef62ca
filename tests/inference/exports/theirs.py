"""What transformers and sentence-transformers answer from an exported folder, with its tokenizer and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from sentence_transformers import SentenceTransformer

from .cases import MASKED, PAIRS, PARAGRAPHS, PROMPTS, QUESTIONS, TEXTS, Case


def answers(case: Case, folder: Path) -> dict[str, list[Any]]:
    """Numbers and texts, as :func:`cases.ours` gives them."""
    if (folder / "modules.json").exists() or case.task == "embed":
        return _sentence(case, folder)
    answer = {"qa": _spans, "pretrain": _masked, "lm": _written, "seq2seq": _written}.get(
        case.task, _classified
    )
    with torch.no_grad():
        return answer(case, folder)


def opened(kind: str, folder: Path) -> tuple[Any, Any]:
    """A tokenizer and a model, nothing missing in the file and nothing left over."""
    made = getattr(transformers, f"AutoModelFor{kind}")
    model, report = made.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not report["missing_keys"] and not report["mismatched_keys"] and not report["unexpected_keys"], (
        report
    )
    return transformers.AutoTokenizer.from_pretrained(folder), model.eval()


def _inputs(tokenizer: Any, *texts: list[str]) -> Any:
    return tokenizer(*texts, return_tensors="pt", padding=True, truncation=True)


def _decided(case: Case, logits: np.ndarray, names: list[str]) -> dict[str, list[Any]]:
    if case.task == "regress":
        return {"numbers": logits.tolist(), "texts": []}
    if case.task == "multilabel":
        chances = 1 / (1 + np.exp(-logits))
        given = [
            ", ".join(name for name, chance in zip(names, row, strict=True) if chance >= 0.5)
            for row in chances
        ]
        return {"numbers": chances.tolist(), "texts": given}
    chances = np.exp(logits - logits.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    return {"numbers": chances.tolist(), "texts": [names[place] for place in chances.argmax(1)]}


def _classified(case: Case, folder: Path) -> dict[str, list[Any]]:
    tokenizer, model = opened("SequenceClassification", folder)
    texts = (TEXTS, PAIRS) if case.pairs else (TEXTS,)
    logits = model(**_inputs(tokenizer, *texts)).logits.numpy().astype(np.float64)
    names = [model.config.id2label[place] for place in range(logits.shape[1])]
    found = _decided(case, logits, names)
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)
    asked = (
        [{"text": one, "text_pair": two} for one, two in zip(TEXTS, PAIRS, strict=True)]
        if case.pairs
        else TEXTS
    )
    for said, row in zip(pipe(asked, truncation=True), found["numbers"], strict=True):
        by_name = {each["label"]: each["score"] for each in said}
        np.testing.assert_allclose([by_name[name] for name in names], row, rtol=1e-4, atol=1e-5)
    return found


def _sentence(case: Case, folder: Path) -> dict[str, list[Any]]:
    model = SentenceTransformer(str(folder), device="cpu")
    asked = list(zip(TEXTS, PAIRS, strict=True)) if case.pairs else TEXTS
    found = model.encode(asked).astype(np.float64)
    if case.task == "embed":
        return {"numbers": found.tolist(), "texts": []}
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    names = [line.partition(". ")[2].strip("`") for line in lines if line.partition(". ")[0].isdigit()]
    return _decided(case, found, names)


def _spans(case: Case, folder: Path) -> dict[str, list[Any]]:
    tokenizer, model = opened("QuestionAnswering", folder)
    numbers, texts = [], []
    for question, paragraph in zip(QUESTIONS, PARAGRAPHS, strict=True):
        row = tokenizer(question, paragraph, return_tensors="pt", return_offsets_mapping=True)
        places = row.pop("offset_mapping")[0].tolist()
        made = model(**row)
        inside = [place for place, which in enumerate(row.sequence_ids(0)) if which == 1]
        best = max(
            (float(made.start_logits[0, a] + made.end_logits[0, b]), a, b)
            for a in inside
            for b in inside
            if b >= a
        )
        numbers.append([best[0]])
        texts.append(paragraph[places[best[1]][0] : places[best[2]][1]])
    return {"numbers": numbers, "texts": texts}


def _masked(case: Case, folder: Path) -> dict[str, list[Any]]:
    kind = "PreTraining" if case.layout == "bert" else "MaskedLM"
    tokenizer, model = opened(kind, folder)
    numbers, texts = [], []
    for text in MASKED:
        row = tokenizer(text.replace("[MASK]", tokenizer.mask_token), return_tensors="pt")
        made = model(**row)
        chances = torch.softmax(made.prediction_logits if case.layout == "bert" else made.logits, -1)[0]
        chances[:, tokenizer.all_special_ids] = 0
        for place in (row["input_ids"][0] == tokenizer.mask_token_id).nonzero().ravel().tolist():
            best = torch.topk(chances[place], 3)
            numbers.append(best.values.tolist())
            texts += tokenizer.convert_ids_to_tokens(best.indices.tolist())
    if case.layout == "bert":
        follows = model(**_inputs(tokenizer, TEXTS, PAIRS)).seq_relationship_logits
        numbers += torch.softmax(follows, -1)[:, :1].tolist()
    return {"numbers": numbers, "texts": texts}


def _written(case: Case, folder: Path) -> dict[str, list[Any]]:
    tokenizer, model = opened("CausalLM" if case.task == "lm" else "Seq2SeqLM", folder)
    texts = PROMPTS if case.task == "lm" else TEXTS
    given = _inputs(tokenizer, texts)
    made = model.generate(**given, max_new_tokens=8)
    if case.task == "lm":
        made = made[:, given["input_ids"].shape[1] :]
    return {"numbers": [], "texts": tokenizer.batch_decode(made, skip_special_tokens=True)}
