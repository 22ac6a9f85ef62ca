"""Conversations as transformers encodes them, and instruction-tuned models there with the loss of labkit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labkit as lk
from labkit.data.batching.dialogues import dialogues
from labkit.data.text import chat
from labkit.data.text.tokenizer import Tokenizer
from labkit.models.gpt.model import GptConfig

from ..inference.test_chat import CHATML, folder_with

pytestmark = pytest.mark.peers

TALKS = [
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, 电影!"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
        {"role": "assistant", "content": "Four."},
    ],
]
#: The same template with the marks by which transformers finds the tokens of the assistant.
MARKED = """{% for message in messages %}
{% if loop.first and message.role != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}
{{ '<|im_start|>' + message['role'] + '\n' }}{% if message.role == 'assistant' %}{% generation %}
{{- message['content'] | trim + '<|im_end|>' }}{% endgeneration %}{% else %}
{{- message['content'] | trim + '<|im_end|>' }}{% endif %}{{ '\n' }}
{%- endfor %}"""


@pytest.fixture(scope="module")
def theirs() -> Any:
    return pytest.importorskip("transformers")


def test_the_tokens_of_responses_are_those_of_transformers(theirs: Any, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(folder_with(CHATML, tmp_path))
    peer = theirs.AutoTokenizer.from_pretrained(tmp_path)
    for talk, found in zip(TALKS, chat.encoded(tokenizer, TALKS), strict=True):
        made = peer.apply_chat_template(
            talk, chat_template=MARKED, return_assistant_tokens_mask=True, return_dict=True
        )
        assert found.ids.tolist() == list(made["input_ids"])
        assert found.learnt.astype(int).tolist() == list(made["assistant_masks"])


def test_a_tuned_model_has_the_same_loss_there(theirs: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    base = tmp_path / "base"
    base.mkdir()
    from flax import nnx

    config = GptConfig(family="llama", width=16, depth=2, heads=2, kv_heads=1, mlp_width=24, max_length=192,
                       vocab_size=400, dropout=0.0)  # fmt: skip
    config.save(config.build(nnx.Rngs(0)), base)
    folder_with(CHATML, base)
    rows = lk.load({"messages": TALKS * 20}).split(validation=0.2, test=0.2, accept_leakage=True)
    run = lk.fit(rows, GptConfig(weights=str(base)), task="instruct", trainable="lora", epochs=2, batch_size=8,
                 learning_rate=1e-2, background=False, accept_leakage=True, folder=tmp_path / "lab")  # fmt: skip
    run.export(tmp_path / "model")
    peer = theirs.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    own = lk.ChatPipeline(tmp_path / "model")
    sums, counts = own.response_losses(dialogues(TALKS, own.tokenizer, 192))
    for talk, total, count in zip(chat.encoded(own.tokenizer, TALKS), sums, counts, strict=True):
        ids = torch.tensor(talk.ids[None].astype(np.int64))
        labels = torch.where(torch.tensor(talk.learnt[None]), ids, -100)
        with torch.no_grad():
            loss = float(peer(input_ids=ids, labels=labels).loss)
        assert total / count == pytest.approx(loss, rel=1e-4)
