"""The panel Chat in a real JupyterLab: two turns, an answer that is stopped, text that is no HTML, both languages."""

from __future__ import annotations

from pathlib import Path

import pytest
from flax import nnx

from labkit.models.gpt.model import GptConfig
from labkit.viz.words import word

from ..inference.test_chat import CHATML, folder_with
from .contrast import hard_to_read, themes
from .jupyter import Lab, until

pytestmark = pytest.mark.browser

START = "import labkit as lk\npanel = lk.panels.Chat({base!r}, language={language!r})\npanel"


SLOW = """import time

def slow(messages, **settings):
    for number in range(2000):
        time.sleep(0.05)
        yield "word " * number

panel.asking.tool.stream_chat = slow
answer = 0"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random weights with a chat template."""
    folder = tmp_path_factory.mktemp("base")
    config = GptConfig(family="llama", width=16, depth=1, heads=2, kv_heads=1, mlp_width=24, max_length=512,
                       vocab_size=400, dropout=0.0)  # fmt: skip
    config.save(config.build(nnx.Rngs(0)), folder)
    return str(folder_with(CHATML, folder))


@pytest.mark.parametrize("language", ["en", pytest.param("zh", marks=pytest.mark.soak)])
def test_a_conversation(lab: Lab, base: str, language: str, tmp_path: Path):
    page = lab.open(lab.notebook(f"chat-{language}.ipynb", [START.format(base=base, language=language)]))
    page.run_cell(0)
    try:
        message = page.find("textarea").first
        message.wait_for()
        page.execute("panel.asking.length.value = 8; answer = 0")
        send = page.page.get_by_role("button", name=word("send_message", language), exact=True)
        for number, text in enumerate(["<img src=x onerror=alert(1)> Hi", "And now?"], start=1):
            message.fill(text)
            message.blur()
            send.click()
            until(
                lambda wanted=2 * number: page.execute("answer = len(panel.asking.messages)") == wanted,
                "the answer",
            )
        until(lambda: page.find(".lk-turn.lk-from-user").count() == 2, "both messages")
        assert page.find(".lk-turn img").count() == 0
        assert "<img src=x" in page.find(".lk-turn.lk-from-user").first.inner_text()
        page.execute(SLOW)
        message.fill("Tell me a long story")
        message.blur()
        send.click()
        page.page.get_by_role("button", name=word("stop_writing", language), exact=True).click()
        until(lambda: page.execute("answer = len(panel.asking.messages)") == 6, "the stopped answer")
        assert page.execute("answer = panel.asking.messages[-1]['content']").startswith("word")
        page.screenshot(tmp_path / f"chat-{language}.png", ".labkit-bench")
        for theme in themes(page):
            assert hard_to_read(page, ".labkit-bench") == [], theme
            page.screenshot(tmp_path / f"chat-{language}-{theme}.png", ".labkit-bench")
    finally:
        page.close()
