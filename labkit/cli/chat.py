"""`labkit chat`: a conversation with a language model in the terminal, and `labkit prompt`: it as a classifier."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli.options import AsJson, Folder, Plugins, RunName, say
from labkit.core.errors import ConfigError, LabkitError
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.inference.text_generation import TextGenerationPipeline

#: What ends a conversation, and what begins another.
LEAVE, ANEW = "/exit", "/new"


def chat(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL]", help="Run id or name, a model folder, a sample, or org/name@revision."
        ),
    ] = "smollm2-135m",
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--message", "-m", help="A message of yours; may be repeated. Default: lines of the terminal."
        ),
    ] = None,
    system: Annotated[str, typer.Option(help="System message: how the model should answer.")] = "",
    max_new_tokens: Annotated[int, typer.Option(help="Maximum number of new tokens of an answer.")] = 256,
    temperature: Annotated[float, typer.Option(help="Sampling temperature; 0: greedy decoding.")] = 0.0,
    top_p: Annotated[
        float, typer.Option(help="Sample from the most likely tokens whose probabilities sum to this.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Random seed of sampling.")] = 0,
    folder: Folder = None,
    plugin: Plugins = None,
) -> None:
    """Talk to a chat model; its answers are printed while they are generated.

    Without --message, every line of the standard input is a message: /new begins another conversation, /exit or the
    end of the input leaves.
    """
    tool = _opened(model, folder, plugin or ())
    settings = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
    begin = [{"role": "system", "content": system}] if system else []
    talk: list[dict[str, str]] = list(begin)
    if given:
        for message in given:
            _answer(tool, talk, message, settings)
        return
    asks = sys.stdin.isatty()
    if asks:
        say(_("{leave}: leave, {anew}: new conversation", leave=LEAVE, anew=ANEW), err=True)
    while True:
        if asks:
            say("> ", err=True, nl=False)
        line = sys.stdin.readline()
        message = line.strip()
        if not line or message == LEAVE:
            return
        if message == ANEW:
            talk = list(begin)
        elif message:
            try:
                _answer(tool, talk, message, settings)
            except LabkitError as error:  # such as a conversation that has grown too long
                if not asks:
                    raise
                say(f"labkit: {error}", err=True)
                talk.pop()


def prompt(
    run: RunName,
    model: Annotated[
        str, typer.Option(help="Chat model: a sample, a folder or org/name@revision.")
    ] = "smollm2-135m",
    shots: Annotated[
        list[int] | None, typer.Option(help="Examples in the prompt; may be repeated (default: 0 and 4).")
    ] = None,
    instruction: Annotated[
        str, typer.Option(help="What to do with a text (default: list the classes).")
    ] = "",
    word: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS=ANSWER", help="The answer that stands for a class; may be repeated."),
    ] = None,
    split: Annotated[str, typer.Option(help="Rows to compare on.")] = "test",
    limit: Annotated[int, typer.Option(help="Rows at most.")] = 300,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Compare a classifier with a language model that is prompted for the same classes, without training."""
    from labkit import api as front
    from labkit.evaluate.prompting import compare_prompting

    words = dict(_pair(each) for each in word or ())
    found = compare_prompting(
        front.open_run(run, folder), tuple(shots or (0, 4)), model, split=split, limit=limit,
        instruction=instruction, words=words,
    )  # fmt: skip
    say(found.to_json(orient="index", indent=1) if as_json else found.to_string(float_format="{:.3f}".format))


def _pair(given: str) -> tuple[str, str]:
    name, sign, answer = given.partition("=")
    if not sign:
        raise ConfigError(_("--word {given!r}: write CLASS=ANSWER."), given=given)
    return name, answer


def _opened(model: str, folder: Path | None, plugins: Any) -> TextGenerationPipeline:
    """A folder or pretrained weights, or else a run."""
    from labkit import api as front
    from labkit.hub.samples import SAMPLES
    from labkit.inference.registry import pipeline_of
    from labkit.inference.text_generation import TextGenerationPipeline

    if Path(model).is_dir() or model in SAMPLES or "/" in model:
        return TextGenerationPipeline(model, plugins=plugins)
    return pipeline_of(front.open_run(model, folder), TextGenerationPipeline)


def _answer(
    tool: TextGenerationPipeline, talk: list[dict[str, str]], message: str, settings: dict[str, Any]
) -> None:
    """Add a message and its answer to a conversation, and print the answer while it is generated."""
    talk.append({"role": "user", "content": message})
    shown = text = ""
    for text in tool.stream_chat(talk, **settings):
        if text.startswith(shown):  # white space at the end is stripped until more follows
            say(text[len(shown) :], nl=False)
            shown = text
            sys.stdout.flush()
    say("")
    talk.append({"role": "assistant", "content": text})
