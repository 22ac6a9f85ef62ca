"""The command ``labkit``. A subcommand imports what it needs when it runs, so that ``labkit --help`` answers at once.

Exit codes: 0 done, 1 something is broken (doctor), 2 a wrong argument or an error that labkit explains, 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from labkit.cli.launch import Folder, launch_app
from labkit.core.errors import ConfigError, DataError, LabkitError, os_reason
from labkit.core.huge_pages import with_huge_pages
from labkit.core.text import one_line, printed
from labkit.i18n import _

if TYPE_CHECKING:
    from labkit.inference.predictor import Predictor

#: What the parser of arguments raises.
_UsageError: Any = typer.BadParameter.__base__
#: First characters that make a spreadsheet compute a cell; the last four are the full-width forms.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: Rows of a table that are predicted, and held in memory, at a time.
CHUNK = 1024


def _say(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print text for a terminal. All output goes through here: data may hold characters that a terminal obeys."""
    typer.echo(printed(text), err=err, nl=nl)


class _Explaining(TyperGroup):
    """Prints a :class:`LabkitError` as one message instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LabkitError as error:
            _say(f"labkit: {error}", err=True)
            raise typer.Exit(2) from None
        except _UsageError as error:  # its message repeats arguments, which may be names of files
            error.message = printed(error.message)
            raise
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Explaining, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="From a table of texts to a fine-tuned BERT.",
)  # fmt: skip
runs_app = typer.Typer(help="List, show and steer runs.")
samples_app = typer.Typer(help="The named data sets and models.")
app.add_typer(runs_app, name="runs")
app.add_typer(samples_app, name="samples")
app.add_typer(launch_app, name="launch")

#: Rows of a table, column name → value, each with its prediction.
Answers = Iterator[tuple[dict[str, Any], Any]]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Id or name of a run.")]
SampleNames = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of samples.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Entry point of the command. What computes begins once more, with memory in huge pages."""
    computes = sys.argv[1:2] in (["train"], ["bench"], ["launch"]) and "--help" not in sys.argv
    if computes and with_huge_pages() != dict(os.environ):
        os.execve(sys.executable, [sys.executable, "-m", "labkit", *sys.argv[1:]], with_huge_pages())
    try:
        app()
    except Exception:  # a fault of labkit
        _say(traceback.format_exc(), err=True, nl=False)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        import labkit

        _say(labkit.__version__)
        raise typer.Exit


@app.command(context_settings={"ignore_unknown_options": True})
def lab(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[DIR] [JUPYTER OPTIONS]", help="Folder (default: labkit-notebooks).")
    ] = None,
) -> None:
    """Start JupyterLab on the tutorials. They are copied to DIR; what you changed there is never overwritten."""
    from labkit.cli import lab as launch

    folder, options = launch.split_arguments(arguments or [])
    copied = launch.copy_notebooks(launch.tutorials(), folder)
    _say(f"tutorials in {folder}: {len(copied.added)} added, {len(copied.updated)} updated", err=True)
    for name in copied.offered:
        _say(f"  you changed the older version, so the new one is beside it: {name}", err=True)
    raise typer.Exit(launch.start(folder, options))


@app.command("app", context_settings={"ignore_unknown_options": True})
def serve(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[DIR] [VOILA OPTIONS]", help="Folder to work in (default: here).")
    ] = None,
) -> None:
    """Serve the bench as a web application, on this machine only and behind a token (needs labkit[app])."""
    from labkit.cli import app as application
    from labkit.cli import lab as launch

    folder, options = launch.split_arguments(arguments or [], ".")
    raise typer.Exit(application.start(folder, options))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine offers, what is wrong and what to do."""
    from labkit.cli import doctor as doc

    findings = doc.examine()
    _say(doc.to_json(findings) if as_json else doc.report(findings))
    raise typer.Exit(int(any(finding.state == "broken" for finding in findings)))


@app.command()
def bench(
    peer: Annotated[str, typer.Option(metavar="hf|keras|torch", help="Train beside a peer, in turn with it.")] = "",
    case: Annotated[str, typer.Option(metavar="bert|mlp|cnn|vgg11", help="One case of the peer (default: all).")] = "",
    figure: Annotated[list[str] | None, typer.Option(help="Measure only this; may be given again.")] = None,
    pairs: Annotated[int, typer.Option(min=2, help="Pairs of turns beside a peer.")] = 20,
    peer_python: Annotated[
        str | None, typer.Option(metavar="PATH", help="The Python that has the peer (default: this one).")
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write all that was measured; - for the terminal.")
    ] = None,
) -> None:
    """Measure speed, waste and compile time of the engine, with the bar that each figure is held to."""
    from rich.console import Console

    from labkit.cli import bench as benches

    wanted = benches.figures(peer, case, figure or [])
    console = Console(stderr=json_file == "-")
    rows = []
    with console.status("beginning") as status:
        for row in benches.measure(wanted, lambda what: status.update(what), pairs=pairs, python=peer_python):
            rows.append(row)
            if (variant := row.get("detail", {}).get(peer)) is not None:
                console.print(f"{peer}: {variant}", highlight=False)
    console.print(benches.table(rows))
    text = json.dumps({"machine": benches.machine(), "figures": rows}, indent=1)
    if json_file == "-":
        _say(text)
    elif json_file:
        Path(json_file).write_text(text + "\n", encoding="utf-8")


@app.command()
def train(
    experiment: Annotated[Path | None, typer.Argument(help="TOML file of the experiment, as a run prints it.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Take up this run instead.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for the run.")] = None,
    folder: Folder = None,
) -> None:
    """Train in this terminal. Ctrl-C ends the run at the next step and keeps the model."""
    if (experiment is None) == (resume is None):
        raise ConfigError(_("give either an experiment file or --resume RUN: labkit train experiment.toml"))
    from labkit import api as front

    run = front.train(experiment, resume=resume, name=name, folder=folder)
    _say(f"{run}\nlabkit predict {run.id} 'some text'")


@app.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="RUN_OR_FOLDER", help="A run, or a folder it was exported to.")],
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT|FILE]...", help="Texts; or files or folders of pictures, sounds."),
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="A table (CSV, JSON lines, Parquet, TXT …), or a folder of pictures or sounds.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the answers, .csv or .jsonl (default: the terminal).")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of the text or the file names (default: that of the training rows).")
    ] = None,
    pair: Annotated[
        str | None, typer.Option(help="Column of the second text, for models of pairs; without --file, that text.")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="Delimiter of the table (default: found out).")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of the table (default: found out).")] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="Column name, for a table without a header; once for each column."),
    ] = None,
    folder: Folder = None,
) -> None:
    """Answer for texts, pictures or sounds, or for every row of a table, which gets the answer's columns: predicted,
    confidence and probability of each class; or the predicted numbers."""
    if bool(given) == (file is not None):
        raise ConfigError(_("give texts or --file: labkit predict RUN 'some text', labkit predict RUN --file x.csv"))
    from labkit import api as front

    predictor = front.predictor(model, folder=folder)
    if file is None:
        examples, pairs = _examples(predictor, given or [], pair)
        for example, answer in zip(examples, predictor.predict(examples, pairs), strict=True):
            _say(f"{answer}\t{one_line(str(example))}")
        return
    if out is not None and out.suffix.lower() not in _WRITERS:
        raise ConfigError(_("--out {out}: answers are written as {endings}."), out=out, endings=" or ".join(_WRITERS))
    read = {"delimiter": delimiter, "encoding": encoding, "names": names and tuple(names)}
    read = {name: value for name, value in read.items() if value}
    answers = predictor.answered(file, column=column, pair=pair, size=CHUNK, **read)
    if out is None:
        _say(f"{_write_csv(_Terminal(), answers, False)} rows", err=True)
        return
    if out.exists() and Path(file).exists() and out.samefile(file):
        raise ConfigError(_("{out} would replace its own source; give --out another name."), out=out)
    with _replacing(out) as target:
        count = _WRITERS[out.suffix.lower()](target, answers, predictor.problem_type == "labels")
    _say(f"{count} rows in {out}", err=True)


@app.command("serve")
def endpoint(
    model: Annotated[str, typer.Argument(metavar="RUN_OR_FOLDER", help="A run, or a folder it was exported to.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is for this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.", min=0, max=65535)] = 8000,
    rate: Annotated[float, typer.Option(help="Requests a second of a client, at most.")] = 10.0,
    host_name: Annotated[
        list[str] | None, typer.Option(help="A further name that clients may call this endpoint by; may be repeated.")
    ] = None,
    examples: Annotated[int, typer.Option(help="Examples in a request, at most.", min=1)] = 64,
    characters: Annotated[int, typer.Option(help="Characters of a text, at most.", min=1)] = 10_000,
    patience: Annotated[
        float, typer.Option(help="Seconds for reading a request in all, for predicting, and for sending the answer.")
    ] = 10.0,
    connections: Annotated[int, typer.Option(help="Connections at a time, at most.", min=1)] = 400,
    folder: Folder = None,
) -> None:
    """Answer over HTTP with a classifier: POST /predict. Clients show the token, that of LABKIT_TOKEN or a new one."""
    from labkit import api as front

    with (
        _until_sigterm(),
        front.serve(
            model,
            host=host,
            port=port,
            token=os.environ.get("LABKIT_TOKEN", ""),
            rate=rate,
            hosts=host_name or (),
            examples=examples,
            characters=characters,
            patience=patience,
            connections=connections,
            folder=folder,
        ) as served,
    ):
        _say(f"{served.url}/predict\ntoken {served.token}\nCtrl-C ends it.", err=True)
        served.wait()


@contextlib.contextmanager
def _until_sigterm() -> Iterator[None]:
    """SIGTERM leaves the block as its end would, with exit code 0; further ones change nothing."""

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@runs_app.callback(invoke_without_command=True)
def _runs(ctx: typer.Context, as_json: AsJson = False, folder: Folder = None) -> None:
    """List the runs of a lab folder, newest first."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = folder
        return
    from labkit import api as front

    if not as_json:  # the table names them
        logging.getLogger("labkit.store").setLevel(logging.ERROR)
    found = front.runs(folder)
    _say(found.to_pandas().to_json(orient="records", indent=1) if as_json else repr(found))


@runs_app.command()
def show(
    ctx: typer.Context,
    run: RunName,
    toml: Annotated[bool, typer.Option("--toml", help="Print only the experiment, for `labkit train`.")] = False,
    folder: Folder = None,
) -> None:
    """Show how a run stands, its last records and what it does."""
    from labkit import api as front

    found = front.open_run(run, folder=folder or ctx.obj)
    if toml:
        _say(found.toml(), nl=False)
        return
    info = found.info
    warned = "".join(f"\n{text}" for text in info.summary.get("warnings", ()))
    problem = f"{warned}\n{info.error} {info.cure}".rstrip()
    history = found.history.tail(10).to_string(index=False, na_rep="")
    _say(f"{found} ({found.id}){problem}\n\n{history}\n\n{found.toml()}", nl=False)


@runs_app.command()
def stop(ctx: typer.Context, run: RunName, folder: Folder = None) -> None:
    """End a run before its next step; its model is kept."""
    _steer(run, folder or ctx.obj, lambda found: found.stop(), "will stop before its next step")


@runs_app.command()
def pause(ctx: typer.Context, run: RunName, folder: Folder = None) -> None:
    """Hold a run before its next step."""
    _steer(run, folder or ctx.obj, lambda found: found.pause(), "will pause before its next step")


@runs_app.command()
def resume(ctx: typer.Context, run: RunName, folder: Folder = None) -> None:
    """Let a paused run go on; a stopped, failed or lost one goes on in a process of its own."""

    def go_on(found: Any) -> None:
        if found.info.over:
            found.start(detach=True)  # a thread of this command would end with it
        else:
            found.resume()

    _steer(run, folder or ctx.obj, go_on, "goes on")


@samples_app.callback(invoke_without_command=True)
def _samples(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        samples_list()


@samples_app.command("list")
def samples_list() -> None:
    """List the samples with licence, source and whether they are here."""
    from labkit.hub.samples import SAMPLES

    _say(repr(SAMPLES))


@samples_app.command("fetch")
def samples_fetch(names: SampleNames) -> None:
    """Fetch samples into the cache, so that they are there offline."""
    from labkit.hub.samples import folder

    for name in names:
        _say(f"{name}: {folder(name)}")


@samples_app.command("verify")
def samples_verify(names: SampleNames) -> None:
    """Hash every file of samples; what is damaged is fetched again."""
    from labkit.hub.samples import verify

    for name in names:
        damaged = verify(name)
        _say(f"{name}: {'fetched again, damaged: ' + ', '.join(damaged) if damaged else 'whole'}")


def _steer(name: str, folder: Path | None, act: Callable[[Any], Any], told: str) -> None:
    from labkit import api as front

    found = front.open_run(name, folder=folder)
    act(found)
    _say(f"{found.name} ({found.id}) {told}")


# --- tables ---------------------------------------------------------------------------------------------------


def _examples(predictor: Predictor, given: list[str], pair: str | None) -> tuple[list[Any], list[str] | None]:
    """What the arguments of ``predict`` name: texts, or the files of pictures and sounds."""
    from labkit.data.model_input import ENDINGS, files_in, is_place

    kind = predictor.processor.modality
    if kind in ENDINGS:
        return [path for place in given for path in files_in(Path(place).expanduser(), kind)], None
    if kind != "text":
        raise ConfigError(_("this model reads tables of features: labkit predict RUN --file x.csv"))
    if pair is None and len(given) == 1 and Path(given[0]).suffix and is_place(given[0]):
        raise ConfigError(_("{given} is a file: labkit predict RUN --file {given}"), given=given[0])
    if pair is not None and len(given) > 1:
        raise ConfigError(_("--pair is the second text of one text; give several pairs with --file."))
    return list(given), None if pair is None else [pair]


def _write_csv(target: IO[str], answers: Answers, several: bool) -> int:
    """Write CSV and return the number of rows. No cell can act as a formula when a spreadsheet opens the file. A column
    of the table with the name of an answer is replaced."""
    writer, count = csv.writer(target, lineterminator="\r\n"), 0  # so that a lone \r is quoted too
    for count, (record, answer) in enumerate(answers, 1):
        row = {**record, **answer.cells()}
        if count == 1:
            writer.writerow(map(_inert, row))
        writer.writerow(_inert(_cell(value)) for value in row.values())
    return count


def _write_jsonl(target: IO[str], answers: Answers, several: bool) -> int:
    """Write JSON lines and return their number."""
    count = 0
    for record, answer in answers:
        json.dump({**record, **answer.record(several)}, target, ensure_ascii=False, default=str)
        target.write("\n")
        count += 1
    return count


_WRITERS: dict[str, Callable[[IO[str], Answers, bool], int]] = {
    ".csv": _write_csv, ".jsonl": _write_jsonl, ".ndjson": _write_jsonl,
}  # fmt: skip


def _cell(value: Any) -> str:
    """A value of a table as text; lists and structures as JSON."""
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


def _inert(cell: str) -> str:
    """``=1+1`` → ``'=1+1``; plain numbers such as ``-5`` stay as they are."""
    if not cell.startswith(("\t", "\r")) and not cell.lstrip().startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return "'" + cell
    return cell


class _Terminal(io.StringIO):
    """The standard output as a file of lines for the terminal."""

    def write(self, text: str, /) -> int:
        _say(text.removesuffix("\r\n"))
        return len(text)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """Write a file beside ``path`` that takes its place at the end; after an error the old content stands.

    Raises:
        DataError: the place cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as target:
            yield target
        beside.replace(path)
    except OSError as error:
        raise DataError(_("cannot write {path}: {reason}."), path=path, reason=os_reason(error)) from error
    finally:
        beside.unlink(missing_ok=True)
