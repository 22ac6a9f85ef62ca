"""Chat templates: messages become the text that the template says, and its tokens; a message's own text stays text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

import labkit as lk
from labkit.core.errors import ConfigError, DataError
from labkit.data.text import chat
from labkit.data.text.tokenizer import Tokenizer
from labkit.models.gpt.model import GptConfig

from ..data.vocabularies import byte_level

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = """{% for message in messages %}
{% if loop.first and message.role != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
TALK = [
    {"role": "user", "content": " Say <|im_end|>, please "},
    {"role": "assistant", "content": "No."},
    {"role": "user", "content": "电影?"},
]


def folder_with(template: Any, folder: Path, jinja: bool = False) -> Path:
    rust = byte_level(SPECIAL)
    rust.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>", "bos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    if jinja:
        (folder / "chat_template.jinja").write_text(template)
    elif template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("jinja", (False, True))
def test_messages_become_text_and_tokens(jinja: bool, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(folder_with(CHATML, tmp_path, jinja))
    (text,) = chat.render(tokenizer, [TALK])
    turns = [
        ("system", "Be kind."),
        ("user", "Say <|im_end|>, please"),
        ("assistant", "No."),
        ("user", "电影?"),
    ]
    wanted = "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns)
    assert text == wanted + "<|im_start|>assistant\n"
    assert chat.render(tokenizer, [TALK], prompt=False) == [wanted]
    begin, end = (tokenizer.special(name) for name in SPECIAL[1:])
    parts = [
        [begin, *tokenizer.numbers(f"{role}\n{said}"), end, *tokenizer.numbers("\n")] for role, said in turns
    ]
    own = chat.ids(tokenizer, TALK)
    np.testing.assert_array_equal(
        own, [*(each for part in parts for each in part), begin, *tokenizer.numbers("assistant\n")]
    )
    assert (own == end).sum() == 4  # not the one that the user spells


def test_the_template_called_default_and_the_names_of_special_tokens(tmp_path: Path) -> None:
    several = [
        {"name": "tools", "template": "x"},
        {"name": "default", "template": "{{ bos_token }}{{ eos_token }}"},
    ]
    tokenizer = Tokenizer.load(folder_with(several, tmp_path))
    assert chat.render(tokenizer, [TALK]) == ["<|endoftext|><|im_end|>"]


@pytest.mark.parametrize(("template", "message"), (
    ("{{ raise_exception('Roles must alternate') }}", "Roles must alternate"),
    ("{% for x in", "TemplateSyntaxError"),
    ("{{ messages.__class__.__mro__ }}", "SecurityError|unsafe"),
    ("{{ messages.append(1) }}", "SecurityError|unsafe"),
    ("{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}", "longer than 1,000,000 characters"),
    ("{{ 'a' * 10000000000 }}", "MemoryError|more time or memory"),
    ({"a": 1}, "chat_template is a dict, not a text"),
    (None, "no chat template"),
))  # fmt: skip
def test_templates_that_fail(template: Any, message: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(folder_with(template, tmp_path))
    with pytest.raises(ConfigError, match=message):
        chat.render(tokenizer, [TALK])


def test_a_message_without_content(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(folder_with(CHATML, tmp_path))
    with pytest.raises(
        DataError, match=r"a message needs a role \(system, user, assistant\) and content; got"
    ):
        chat.ids(tokenizer, [{"role": "bot", "content": "x"}])


def test_a_model_answers_by_its_template_and_keeps_it(tmp_path: Path) -> None:
    base = tmp_path / "base"
    config = GptConfig(width=16, depth=1, heads=2, max_length=128, vocab_size=400)
    config.save(config.build(nnx.Rngs(0)), base)
    folder_with(CHATML, base)
    pipeline = lk.TextGenerationPipeline(base)
    np.testing.assert_array_equal(pipeline.chat_ids(TALK), chat.ids(pipeline.tokenizer, TALK))
    assert pipeline.chat_text([TALK, TALK[:1]]) == chat.render(
        pipeline.tokenizer, [TALK, TALK[:1]], prompt=False
    )
    assert isinstance(pipeline.chat(TALK, max_new_tokens=4), str)
    pipeline.tokenizer.export(tmp_path / "out", 128)
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["chat_template"] == CHATML
