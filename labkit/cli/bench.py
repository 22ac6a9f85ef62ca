"""``labkit bench``: throughput, overhead and compile time, alone or compared with peer libraries.

 The measurements are in ``labkit/benchmarks``; here is the list of them, each with its bar, and the table of
results.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli.options import say
from labkit.core.errors import ConfigError, nearest
from labkit.i18n import _

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Measurement:
    """Something measured, and the bar it is held to.

    Attributes:
        name: to ask for it.
        what: a line of the table.
        where: ``module:function`` among the benchmarks; it returns a dict.
        least, most: the bar; None for no bar on that side.
        key: which value of the dict this is.
        arguments: of the function.
        takes: option of :func:`measure` → argument of the function, for the options it takes.
        long: takes minutes and much of the disk, so it is measured only on request.
    """

    name: str
    what: str
    where: str
    least: float | None = None
    most: float | None = None
    key: str = "value"
    arguments: dict[str, Any] = field(default_factory=dict)
    takes: dict[str, str] = field(default_factory=dict)
    long: bool = False

    @property
    def bar(self) -> str:
        """The bar as it is written in the table."""
        if self.least is not None:
            return f"≥ {self.least:g}"
        return "" if self.most is None else f"≤ {self.most:g}"

    def met(self, value: float) -> bool | None:
        """Whether a value clears the bar; None where there is none."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


#: What is measured without a peer.
ALONE = (
    Measurement("flops", "XLA FLOPs per real token ÷ the model's own arithmetic", "arithmetic:per_token", most=1.10),
    Measurement("padding", "padding share of the batches, film reviews", "arithmetic:padding", most=0.05),
    Measurement("tokens", "BERT fine-tuning, real tokens a second", "throughput:alone", key="tokens_per_second"),
    Measurement("examples", "BERT fine-tuning, examples a second", "throughput:alone", key="examples_per_second"),
    Measurement("speed", "BERT fine-tuning, own arithmetic, FLOP/s", "throughput:alone", key="flops_per_second"),
    Measurement("peak", "fastest product of the types in use, FLOP/s", "throughput:alone", key="peak_flops_per_second"),
    Measurement("share", "the former ÷ the latter", "throughput:alone", least=0.34),
    Measurement("traffic", "bytes moved a step, BERT 6 × 384, 11 × 80 tokens", "traffic:step", most=4.0e9),
    Measurement("traffic-token", "the same for each real token", "traffic:step", key="per_token"),
    Measurement("depth", "compile time of 24 layers ÷ 6 layers", "compiling:depth", most=1.25),
    Measurement("warm", "warm start (new process, cache filled) ÷ cold compile", "compiling:warm_start", most=0.15),
    Measurement(
        "loop", "training loop with store and reader ÷ bare compiled step, throughput", "loop:overhead", least=0.97
    ),
    Measurement("loop-bound", "lower end of its 95 % interval", "loop:overhead", least=0.97, key="lower"),
    Measurement("transfers", "host transfers in the steady loop", "loop:overhead", most=0, key="transfers"),
    Measurement("compilations", "compilations after warm-up", "loop:overhead", most=0, key="compilations"),
    Measurement("start", "labkit --help in a new process, seconds", "starting:seconds"),
    Measurement("import", "import labkit, seconds with Python's own start", "starting:seconds", key="import_labkit"),
    Measurement("lab", "labkit lab until JupyterLab is started, seconds", "starting:seconds", key="lab"),
    Measurement(
        "pictures", "load, split and save 10,000 pictures ÷ np.save and np.load of them", "pictures:load_split_save",
        most=3.0,
    ),
    Measurement(
        "generation", "generation: weight bytes × tokens/s ÷ a copy's bytes/s", "answering:bandwidth_share", least=0.5
    ),
    Measurement(
        "memory", "peak memory of preprocessing, 2 GB table ÷ 200 MB table", "datapath:memory", most=1.2, key="ratio",
        long=True,
    ),
)  # fmt: skip
_TRAINED = {
    ("hf", "bert"): ("BERT fine-tuning, real tokens/s, labkit ÷ Hugging Face Trainer, its defaults", 2.0),
    ("keras", "bert"): ("BERT fine-tuning, real tokens/s, labkit ÷ Keras on JAX", 1.8),
    ("torch", "mlp"): ("MLP on digits, steps/s, labkit ÷ PyTorch", 5.0),
    ("torch", "cnn"): ("small CNN at 32 × 32, steps/s, labkit ÷ PyTorch", 0.91),
    ("torch", "vgg11"): ("VGG-11 at 32 × 32, steps/s, labkit ÷ PyTorch", 1.16),
}
#: What is measured beside peers: (peer, case) → the figure.
BESIDE = {
    (peer, case): Measurement(
        f"{peer}-{case}", what, "throughput:compare_with_peer", least=least, arguments={"peer": peer, "case": case},
        takes={"pairs": "pairs", "python": "python"},
    )
    for (peer, case), (what, least) in _TRAINED.items()
}  # fmt: skip
BESIDE["hf", "bert-best"] = Measurement(
    "hf-bert-best", "the same, the Trainer at its best (group_by_length, compiled)", "throughput:compare_with_peer",
    least=1.1, arguments={"peer": "hf", "case": "bert", "at_best": True}, takes={"pairs": "pairs", "python": "python"},
)  # fmt: skip
_ANSWERED = {
    "classify": ("classify film reviews, texts/s, labkit ÷ transformers sorted, bfloat16", 1.0, {"kind": "classify"}),
    "embed": ("embed film reviews, texts/s, labkit ÷ transformers sorted, bfloat16", 1.0, {"kind": "embed"}),
    "generate": ("SmolLM2-135M, tokens/s, labkit ÷ transformers eager", 2.0, {"kind": "generate"}),
    "generate-static": (
        "the same ÷ transformers compiled, static cache", 1.0, {"kind": "generate", "static": True}
    ),
}  # fmt: skip
BESIDE |= {
    ("hf", case): Measurement(
        f"hf-{case}", what, "answering:beside_transformers", least=least, arguments=arguments,
        takes={"pairs": "pairs", "python": "python"},
    )
    for case, (what, least, arguments) in _ANSWERED.items()
}  # fmt: skip
BESIDE["hf", "datapath"] = Measurement(
    "hf-datapath", "tokenise + pack 100,000 texts, labkit ÷ datasets.map + collator", "datapath:tokenise_and_pack",
    least=3.0, key="ratio", arguments={"peer_python": sys.executable}, takes={"python": "peer_python"},
)  # fmt: skip


def module(name: str) -> Any:
    """A module of the benchmarks."""
    return importlib.import_module(f"labkit.benchmarks.{name}")


def figures(peer: str = "", case: str = "", names: Sequence[str] = ()) -> list[Measurement]:
    """The requested figures.

    Args:
        peer: the peer to compare with; empty: labkit alone.
        case: one case of the peer; empty: all of them.
        names: some of the figures; empty: all.

    Raises:
        ConfigError: there is no such peer, case or figure.
    """
    if case and not peer:
        raise ConfigError(
            _("--case {case} needs a peer: --peer {peers}."),
            case=case,
            peers=" or ".join(_peers_of(case) or ["hf"]),
        )
    if peer and peer not in {known for known, _ in BESIDE}:
        known = dict.fromkeys(name for name, _ in BESIDE)
        raise ConfigError(
            _("unknown peer {peer!r}.{hint} Available: {known}."),
            peer=peer, hint=nearest(peer, known), known=", ".join(known),
        )  # fmt: skip
    if case and (peer, case) not in BESIDE:
        has = ", ".join(name for known, name in BESIDE if known == peer)
        raise ConfigError(
            _("unknown case {case!r} for {peer!r}. Available: {has}."), case=case, peer=peer, has=has
        )
    found = (
        [figure for (a, b), figure in BESIDE.items() if a == peer and case in ("", b)]
        if peer
        else list(ALONE)
    )
    for name in names:
        if name not in {figure.name for figure in found}:
            known = [figure.name for figure in found]
            raise ConfigError(
                _("unknown figure {name!r}.{hint} Available: {known}."),
                name=name, hint=nearest(name, known), known=", ".join(known),
            )  # fmt: skip
    return [figure for figure in found if (figure.name in names if names else not figure.long)]


def measure(
    wanted: Sequence[Measurement], say: Callable[[str], None], **options: object
) -> Iterator[dict[str, Any]]:
    """Measure the figures, one after the other, each function once.

    Args:
        wanted: which.
        say: called with a sentence before each measurement.
        options: further arguments of functions that compare with a peer (``pairs``, ``python``).

    Yields:
        For each figure ``name``, ``what``, ``value``, ``bar``, ``met`` and, for the first of a function, its
        whole result as ``detail``.
    """
    results: dict[Any, dict[str, Any]] = {}
    for figure in wanted:
        where, _, function = figure.where.partition(":")
        call = (figure.where, *sorted(figure.arguments.items()))
        fresh = call not in results
        if fresh:
            say(figure.what)
            given = {
                own: options[name] for name, own in figure.takes.items() if options.get(name) is not None
            }
            results[call] = getattr(module(where), function)(**{**figure.arguments, **given})
        value = results[call][figure.key]
        row = {
            "name": figure.name,
            "what": figure.what,
            "value": value,
            "bar": figure.bar,
            "met": figure.met(value),
        }
        yield {**row, **({"detail": results[call]} if fresh else {})}


def machine() -> dict[str, Any]:
    """What the figures were measured on, and with."""
    return {
        **module("cases").versions(),
        "processors": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The figures as a table for the terminal."""
    from rich.table import Table

    made = Table("figure", "what", "measured", "quartiles", "bar", "")
    for row in rows:
        spread = row.get("detail", {}).get("quartiles")
        between = (
            f"{number(spread[0])} – {number(spread[1])}"
            if spread and row["value"] == row["detail"]["value"]
            else ""
        )
        verdict = {None: "", True: "met", False: "missed"}[row["met"]]
        style = {None: "", True: "green", False: "red"}[row["met"]]
        made.add_row(
            row["name"], row["what"], number(row["value"]), between, row["bar"], verdict, style=style
        )
    for name in ("measured", "quartiles", "bar"):
        next(column for column in made.columns if column.header == name).justify = "right"
    return made


def device_table(found: dict[str, Any]) -> Table:
    """What ``labkit bench --device`` found, for the terminal."""
    from rich.table import Table

    made = Table(found["device"], "tokens/s", "MFU", "memory", "labkit ÷ peer")
    for row in found["settings"]:
        if "left_out" in row:
            made.add_row(row["name"], row["left_out"])
            continue
        name = f"{row['name']}, {row['rows']} × {row['length']}, {row['precision']}"
        made.add_row(name, *_speed(row), "")
        for peer in row["peer"]:
            if "left_out" in peer:
                made.add_row(f"  PyTorch {peer.get('name', '')}", peer["left_out"])
            else:
                made.add_row(f"  PyTorch {peer['name']}", *_speed(peer), number(peer["ratio"]))
    sheet = found["data_sheet_flops_per_second"]
    made.caption = (
        f"product {number(found['product_flops_per_second'])} FLOP/s measured"
        + (f", {number(sheet)} by its data sheet (MFU is of these)" if sheet else " (MFU is of these)")
        + f"; memory {number(found['bytes_per_second'])} B/s; balance "
        f"{number((sheet or found['product_flops_per_second']) / found['bytes_per_second'])} FLOP a byte"
    )
    return made


def _speed(row: dict[str, Any]) -> tuple[str, str, str]:
    memory = f"{number(row['memory_bytes'])}B" if row["memory_bytes"] else ""
    return number(row["tokens_per_second"]), f"{row['mfu']:.1%}", memory


def number(value: float) -> str:
    """A value in few digits: 3.14, 0.0271, 1,540, 152 G."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == 0 else f"{value:.3g}"


def _peers_of(case: str) -> list[str]:
    return [peer for peer, known in BESIDE if known == case]


def bench(
    peer: Annotated[str, typer.Option(metavar="hf|keras|torch", help="Compare with a peer library.")] = "",
    case: Annotated[
        str,
        typer.Option(metavar="bert|mlp|cnn|…", help="Benchmark case (default: all cases of the peer)."),
    ] = "",
    figure: Annotated[
        list[str] | None, typer.Option(help="Measure only this figure; may be repeated.")
    ] = None,
    device: Annotated[
        bool,
        typer.Option(
            "--device", help="Train on the first device for some minutes: tokens/s, MFU, memory, PyTorch's."
        ),
    ] = False,
    pairs: Annotated[int, typer.Option(min=2, help="Number of paired measurements with the peer.")] = 20,
    peer_python: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Python interpreter with the peer installed (default: the current one)."
        ),
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write all measurements as JSON; - for standard output."),
    ] = None,
) -> None:
    """Benchmark throughput, overhead and compile time, with the target of each figure."""
    from rich.console import Console

    if device and (peer or case or figure):
        raise ConfigError(_("--device is measured alone: omit --peer, --case and --figure."))
    console = Console(stderr=json_file == "-")
    if device:
        with console.status("beginning") as status:
            found = module("device").training(lambda what: status.update(what), peer_python)
        console.print(device_table(found))
        _write({"machine": machine(), "device": found}, json_file)
        return
    wanted, rows = figures(peer, case, figure or []), []
    with console.status("beginning") as status:
        for row in measure(wanted, lambda what: status.update(what), pairs=pairs, python=peer_python):
            rows.append(row)
            if peer and (variant := row.get("detail", {}).get(peer)) is not None:
                console.print(f"{peer}: {variant}", highlight=False)
    console.print(table(rows))
    _write({"machine": machine(), "figures": rows}, json_file)


def _write(content: dict[str, Any], json_file: str | None) -> None:
    text = json.dumps(content, indent=1)
    if json_file == "-":
        say(text)
    elif json_file:
        Path(json_file).write_text(text + "\n", encoding="utf-8")
