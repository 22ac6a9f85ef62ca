"""`labkit index`, `labkit search` and `labkit ask`: search in one's own texts, and answers from them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from labkit.cli.options import AsJson, say

Index = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of an index, made by labkit index.")]
Method = Annotated[str, typer.Option(help="hybrid, embeddings or bm25.")]


def index(
    folder: Annotated[Path, typer.Argument(help="Folder with .txt, .md and .pdf files.")],
    out: Annotated[Path, typer.Option(help="New folder for the index.")],
    encoder: Annotated[
        str,
        typer.Option(
            help='Encoder: "minilm-l6" (English), "e5-small" (100 languages), or "" for BM25 alone.'
        ),
    ] = "minilm-l6",
    words: Annotated[int, typer.Option(help="Words of a passage at most.")] = 160,
) -> None:
    """Index the texts of a folder for labkit search and labkit ask. Files that are left out are listed."""
    from labkit.retrieval.index import SearchIndex

    made = SearchIndex.from_folder(folder, encoder, words=words)
    made.save(out)
    for name, why in made.notes:
        say(f"{name}: {why}", err=True)
    say(made)


def search(
    place: Index,
    query: Annotated[str, typer.Argument(help="A question or some words.")],
    top: Annotated[int, typer.Option(help="Number of passages.")] = 5,
    method: Method = "hybrid",
    as_json: AsJson = False,
) -> None:
    """Find the passages of an index that fit a query best."""
    from labkit.retrieval.index import SearchIndex

    found = SearchIndex.load(place).search(query, top, method)
    say(json.dumps([asdict(hit) for hit in found], indent=1, ensure_ascii=False) if as_json else found)


def ask(
    place: Index,
    question: Annotated[str, typer.Argument(help="The question.")],
    model: Annotated[
        str, typer.Option(help="Chat model: a sample, a folder or org/name@revision.")
    ] = "smollm2-135m",
    method: Method = "hybrid",
    threshold: Annotated[
        float | None,
        typer.Option(help="Evidence below which no answer is given (default: that of the index)."),
    ] = None,
) -> None:
    """Answer a question from the texts of an index, with the passages that were read."""
    from labkit.retrieval.index import SearchIndex

    say(repr(SearchIndex.load(place).answer(question, model, method=method, threshold=threshold)))
