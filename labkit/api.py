"""Public functions: fit a model, open a run, list runs. Cost estimates are in :mod:`labkit.planning`."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from labkit.core import html, plugins
from labkit.core.config import known_settings, read_text
from labkit.core.errors import ConfigError, RunError
from labkit.core.extras import require
from labkit.core.text import printed, visible
from labkit.data.io.load import open_rows
from labkit.data.rows import Rows
from labkit.i18n import _
from labkit.planning import experiment_of
from labkit.runs import liveness, repair_log
from labkit.runs.handle import RunHandle, model_of
from labkit.runs.overview import COLUMNS, overview
from labkit.runs.store import RunInfo, Store, StoreError
from labkit.train.callback_specs import check_callbacks, check_importable, specs_of
from labkit.train.callbacks import Callback
from labkit.train.experiment import Experiment, own_experiment

if TYPE_CHECKING:
    import pandas as pd

    from labkit.data.io.load import RowSource
    from labkit.evaluate.audit import Canaries
    from labkit.evaluate.calibration import Calibration
    from labkit.evaluate.card import ModelCard
    from labkit.evaluate.compare import Comparison
    from labkit.evaluate.evaluate import EvaluationReport
    from labkit.evaluate.fairness import FairnessReport, GroupThresholds
    from labkit.evaluate.membership import MembershipReport
    from labkit.evaluate.report import ClassificationReport
    from labkit.evaluate.scores import Scores
    from labkit.explain.explanation import AttentionWeights, Explanation
    from labkit.inference.fill_mask import TokenPrediction
    from labkit.inference.pipeline import Pipeline
    from labkit.inference.predictor import Predictor
    from labkit.inference.server import Endpoint
    from labkit.more_labels import LearningCurve
    from labkit.train.experiment import ModelSource

Opened = TypeVar("Opened", bound="Pipeline")
#: Seconds for which a run in the foreground goes on while its store cannot be read.
UNREADABLE = 300.0


class Run(RunHandle):
    """A training run: follow, control, evaluate, predict, export."""

    _shown: int | None = None  # the cell that has watched the run and so shows it already

    @property
    def predictor(self) -> Predictor:
        """The trained model. Raises :class:`RunError` while there is none."""
        from labkit.inference.predictor import Predictor

        return self._pipeline(Predictor)

    def _pipeline(self, kind: type[Opened]) -> Opened:
        """The trained model opened as ``kind``."""
        from labkit.inference.registry import pipeline_of

        return pipeline_of(self, kind)

    @property
    def rows(self) -> Rows:
        """The rows of the run, after cleaning and splitting."""
        return open_rows(self.info.folder / "data")

    @known_settings
    def predict(
        self,
        examples: object,
        pairs: str | Sequence[str] | None = None,
        *,
        unsure_below: float | None = None,
    ) -> Any:
        """Predict for new texts (or one), images, sounds or features, or the rows of a table; see
        :meth:`labkit.Predictor.predict`."""
        return self.predictor.predict(examples, pairs, unsure_below=unsure_below)

    def generate(self, prompts: str | Sequence[str], **settings: object) -> Any:
        """Continue prompts with the language model; see :meth:`labkit.TextGenerationPipeline.generate`."""
        from labkit.inference.text_generation import TextGenerationPipeline

        return self._pipeline(TextGenerationPipeline).generate(prompts, **settings)

    def stream(self, prompt: str, **settings: object) -> Iterator[str]:
        """Continue a prompt, and yield the text so far while it is generated; see
        :meth:`labkit.TextGenerationPipeline.stream`."""
        from labkit.inference.text_generation import TextGenerationPipeline

        return self._pipeline(TextGenerationPipeline).stream(prompt, **settings)

    @known_settings
    def fill(self, text: str, pair: str | None = None, *, top: int = 5) -> list[list[TokenPrediction]]:
        """Predict the tokens at each ``[MASK]``; see :meth:`labkit.FillMaskPipeline.fill`."""
        from labkit.inference.fill_mask import FillMaskPipeline

        return self._pipeline(FillMaskPipeline).fill(text, pair, top=top)

    @known_settings
    def follows(self, first: str, second: str) -> float:
        """Probability that the second text follows the first (next-sentence prediction);
        see :meth:`~labkit.FillMaskPipeline.follows`."""
        from labkit.inference.fill_mask import FillMaskPipeline

        return self._pipeline(FillMaskPipeline).follows(first, second)

    @known_settings
    def embed(self, texts: str | Sequence[str]) -> Any:
        """Embed texts, float32 [n, d], or one text, float32 [d]; see :meth:`labkit.EmbeddingPipeline.embed`."""
        from labkit.inference.embedding import EmbeddingPipeline

        return self._pipeline(EmbeddingPipeline).embed(texts)

    def translate(self, texts: str | Sequence[str], **settings: object) -> Any:
        """Generate target texts from source texts; see :meth:`labkit.TranslationPipeline.translate`."""
        from labkit.inference.translation import TranslationPipeline

        return self._pipeline(TranslationPipeline).translate(texts, **settings)

    @known_settings
    def answer(
        self,
        questions: str | Sequence[str],
        paragraphs: str | Sequence[str],
        *,
        threshold: float | None = None,
    ) -> Any:
        """Answers to questions, each a piece of its paragraph, or none; see
        :meth:`labkit.QuestionAnsweringPipeline.answer`."""
        from labkit.inference.question_answering import QuestionAnsweringPipeline

        return self._pipeline(QuestionAnsweringPipeline).answer(questions, paragraphs, threshold=threshold)

    @known_settings
    def evaluate(self, split: str = "test", baselines: bool = True) -> EvaluationReport | Scores:
        """Evaluate the model on a split: scores with confidence intervals, confusion matrix, errors and
        baselines.

        Other tasks have their own metrics: loss, perplexity, accuracy … The baseline of a language model is
        an n-gram model of the training rows (:mod:`labkit.evaluate.ngram`).
        """
        from labkit.evaluate import run_report

        report = run_report.evaluate_run(self, split, baselines)
        self.store.update(
            self.id, summary={f"{split}_{name}": value for name, value in report.scores.items()}
        )
        return report

    def compare(self, other: Run | ClassificationReport, split: str = "test") -> Comparison:
        """Compare with another run on the same rows: scores, difference with confidence interval, McNemar's
        exact test."""
        from labkit.evaluate import run_report

        return run_report.compare(self, other, split)

    def calibration(self, split: str = "test", bins: int = 15) -> Calibration:
        """Calibration: confidence against accuracy, before and after temperature scaling fitted on
        validation."""
        from labkit.evaluate import run_report

        return run_report.calibration(self, split, bins)

    def slices(self, by: str | Iterable[Hashable] = "length", split: str = "test") -> pd.DataFrame:
        """Scores of slices of a split, by a column or by text length, lowest first."""
        from labkit.evaluate import run_report

        return run_report.slices(self, by, split)

    def more_labels(self, **settings: Any) -> LearningCurve:
        """What more labels are worth to this model: it is trained on nested subsets of its training rows, and
        a power law is fitted; ``settings`` are those of :func:`labkit.learning_curve`."""
        from labkit.more_labels import learning_curve

        experiment = self.experiment.replace(name=self.name)
        return learning_curve(
            self.rows, experiment, folder=self.store.folder,
            accept_leakage=experiment.data.accept_leakage, **settings,
        )  # fmt: skip

    def fairness(
        self,
        columns: str | Sequence[str],
        split: str = "test",
        positive: str | None = None,
        min_rows: int = 0,
    ) -> FairnessReport:
        """Selection rate, true and false positive rate, PPV, accuracy and calibration by group with intervals, and
        the gaps between groups.

        Args:
            columns: a column of the rows, whether the model reads it or not; several give their intersections.
            split: which rows.
            positive: the class that counts as positive.
            min_rows: rows below which a group is no part of the gaps.
        """
        from labkit.evaluate import run_report

        return run_report.fairness(self, columns, split, positive, min_rows)

    def group_thresholds(
        self,
        columns: str | Sequence[str],
        goal: str = "demographic_parity",
        positive: str | None = None,
        **costs: float,
    ) -> GroupThresholds:
        """Thresholds by group that make a rate nearly equal, chosen on the validation rows, and what they cost on
        the test rows; see :func:`labkit.evaluate.fairness.thresholds_by_group`."""
        from labkit.evaluate import run_report

        return run_report.group_thresholds(self, columns, goal, positive, **costs)

    @known_settings
    def audit(
        self, split: str = "test", *, references: int = 0, canaries: Canaries | None = None, seed: int = 0
    ) -> MembershipReport:
        """Audit by membership inference: how well the training rows can be distinguished from those of ``split``
        by the loss of the model. AUROC 0.5 is guessing. Both must be random samples of one population.

        Args:
            split: rows that were not trained on.
            references: number of reference runs with the same settings, each on a random half of both parts;
                the loss is then compared with that of models that were not trained on the row, a stronger
                attack. 0: none.
            canaries: what :func:`labkit.canaries` returned with the rows of this run.
            seed: of samples of the rows, halves, and intervals.
        """
        from labkit.evaluate.audit import audit_run

        report = audit_run(self, split, references=references, canaries=canaries, seed=seed)
        found = {"membership_auroc": report.scores["auroc"], "membership_tpr": report.scores["tpr"]}
        self.store.update(self.id, summary=found)
        return report

    def explain(self, example: object, pair: str | None = None, **settings: Any) -> Explanation:
        """Explain a prediction: attributions for and against a class; see ``Explainer.explain``."""
        return self.predictor.explain(example, pair, **settings)

    def attention(self, text: str, pair: str | None = None) -> AttentionWeights:
        """Attention weights of a BERT for one text, [layers, heads, tokens, tokens]."""
        return self.predictor.attention(text, pair)

    def card(
        self,
        *,
        intended_use: str = "",
        out_of_scope: str = "",
        limits: str = "",
        groups: Sequence[str] = (),
        positive: str | None = None,
        licence: str = "",
        split: str = "test",
        measure: bool = True,
    ) -> ModelCard:
        """The model card: intended use, data with hash and licences, leaks and personal data found, scores with
        intervals and baselines, groups, privacy, size, latency, energy and limits, with the metadata of the Hugging
        Face hub; see :func:`labkit.evaluate.card.model_card`. ``run.export(folder, card=card)`` writes it."""
        from labkit.evaluate.card import model_card

        names = [groups] if isinstance(groups, str) else groups
        return model_card(
            self, intended_use=intended_use, out_of_scope=out_of_scope, limits=limits, groups=names, positive=positive,
            licence=licence, split=split, measure=measure,
        )  # fmt: skip

    def export(self, folder: str | Path, card: ModelCard | None = None) -> Path:
        """Export the model to a folder that :class:`labkit.Predictor` loads, with a README.md; ``card`` (:meth:`card`)
        makes it a full model card.

        Text models give the same predictions in transformers: ``AutoTokenizer`` and the class named in
        config.json load the folder. A head on a pooling that transformers does not support is written as a
        sentence-transformers folder whose embeddings are the logits.

        Raises:
            ConfigError: the folder is not empty, or other libraries would compute other results from this
                model.
        """
        from labkit.inference.export import export

        return export(
            self.experiment, model_of(self.info)[0], Path(folder), "" if card is None else card.text
        )

    def push_to_hub(
        self,
        repo: str,
        *,
        revision: str = "main",
        private: bool | None = None,
        token: str | None = None,
        card: ModelCard | None = None,
    ) -> str:
        """Upload the exported model to the Hugging Face hub.

        Args:
            repo: "org/name"; made if it does not exist.
            revision: branch; made if it does not exist.
            private: whether a new repository is private. None: the default of the hub.
            token: access token. None: the one of `hf auth login` or ``HF_TOKEN``.
            card: the model card (:meth:`card`).

        Returns:
            The name of this version, "org/name@commit": ``lk.Predictor(name)`` and ``weights=name`` load it.

        Raises:
            ConfigError: other libraries would compute other results from this model.
            WeightsError: the hub cannot be reached, or refuses the upload.
        """
        from labkit.hub.upload import check, upload

        check(repo)
        with tempfile.TemporaryDirectory() as work:
            folder = self.export(Path(work) / "model", card)
            return upload(folder, repo, revision=revision, private=private, token=token)

    def show(self) -> Any:
        """The live panel of this run."""
        from labkit.app.live import show

        return show(self)

    def figure(self) -> Any:
        """Loss and F1 over the steps so far, as a Plotly figure."""
        from labkit.viz.plotly import of_runs

        return of_runs({self.name: self})

    def _ipython_display_(self) -> None:
        from labkit.core.frontend import cell, frontend

        if frontend() == "none":
            print(self)
        elif self._shown is None or self._shown != cell():
            self.show()


class Runs(Sequence[Run]):
    """The runs of a lab folder, newest first.

    ``overview()`` has a line for each; ``to_pandas()`` all scores and the settings in which they differ.
    """

    def __init__(self, store: Store):
        self.store = store
        self._infos, self._unreadable = store.runs(), store.unreadable()

    def __len__(self) -> int:
        return len(self._infos)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return Run(self.store, index)
        if isinstance(index, slice):
            return [Run(self.store, info.id) for info in self._infos[index]]
        return Run(self.store, self._infos[index].id)

    def to_pandas(self) -> pd.DataFrame:
        """One row per run: status, scores, and all settings in which the runs differ."""
        import pandas as pd

        table = [{**_headline(info), **_flat(info)} for info in self._infos]
        frame = pd.DataFrame(table, columns=None if table else list(_headline(RunInfo("", "", Path()))))
        fixed = list(_headline(self._infos[0])) if self._infos else list(frame.columns)
        varied = [
            name for name in frame.columns if name not in fixed and frame[name].astype(str).nunique() > 1
        ]
        return frame[fixed + varied]

    def figure(self) -> Any:
        """Loss and F1 of all these runs in one Plotly figure, a colour a run."""
        from labkit.viz.plotly import of_runs

        return of_runs({f"{run.name} ({run.id})": run for run in self})

    def cost_figure(self, cost: str = "parameters") -> Any:
        """Validation score against cost as a Plotly figure, with the Pareto front: the runs that no cheaper run
        beats. Only runs with the data and the metric of the newest one are comparable, and so drawn.

        Args:
            cost: "parameters", "trainable" (parameters that were trained), "seconds" or "steps".
        """
        from labkit.viz.plotly import score_against_cost

        return score_against_cost(self, cost)

    @property
    def notes(self) -> list[str]:
        """Runs that cannot be read, and what of the run store was damaged and restored in the last days, a
        sentence each."""
        return [*(repair_log.unreadable(*each) for each in self._unreadable.items()), *self.store.notes]

    def overview(self) -> list[dict[str, str]]:
        """A line per run: name, status, score, model, data, age and id, as texts."""
        return [overview(info) for info in self._infos]

    def __repr__(self) -> str:
        import pandas as pd

        table = (
            pd.DataFrame(self.overview()).map(visible).to_string(index=False)
            if self._infos
            else "no runs yet"
        )
        return printed("\n".join([table, *self.notes]))

    def _repr_html_(self) -> str:
        lines = [list(line.values()) for line in self.overview()]
        table = (
            html.table(list(map(str, COLUMNS.values())), lines) if lines else html.paragraph("no runs yet")
        )
        return html.page("", table, *self.notes)


def fit(
    rows: RowSource,
    model: ModelSource = "bert",
    *,
    name: str = "",
    folder: str | Path | None = None,
    detach: bool = False,
    processes: int = 1,
    background: bool | None = None,
    accept_leakage: bool = False,
    callbacks: Sequence[Callback] = (),
    **options: object,
) -> Run:
    """Train ``model`` to predict the labels of ``rows`` (a class, several labels or a number), or another
    ``task``.

    Args:
        rows: rows from :func:`~labkit.load`, or anything it accepts. A missing validation or test split is
            created (10 % each, stratified by class).
        model: model config, such as ``lk.models["bert"](preset="minilm-l6")``, or the name of an
            architecture; or a class of ``nnx.Module``, or a function that returns one
            (:func:`labkit.models.module.config_class`).
        name: a name for the run.
        folder: the lab folder; by default ``.labkit`` in the working directory.
        detach: train in a separate process that outlives this one.
        processes: number of such processes; each batch is divided over their devices.
        background: train in a thread and return immediately. Default: True where a front end can show the
            live panel; otherwise False: ``fit`` returns when the run ends, and an interrupt stops the run at
            the next step.
        accept_leakage: train even if more than 1 % of the validation or test rows also occur in the training
        rows.
        callbacks: objects of subclasses of :class:`~labkit.Callback`, called during training. For ``detach``
            they must be importable; ``run.resume()`` creates importable ones anew from the experiment.
        **options: ``task``, a name ("classify", "multilabel", "regress", "lm", "pretrain", "qa", "seq2seq",
            "embed") or its settings; settings of the task (``max_length``, ``class_weights`` …), the training
            (``epochs``, ``batch_size``, ``seed``, ``patience`` …) and the optimizer (``learning_rate``,
            ``warmup``, ``freeze`` …); see :mod:`labkit.train.experiment`.

    Returns:
        The run. As the last line of a notebook cell it shows its live panel.

    Raises:
        ConfigError, DataError: a setting or the rows are invalid.
        RunError: (in the foreground) the run failed.
    """
    require("train")
    check_callbacks(callbacks)
    detach = detach or processes > 1
    if detach:
        check_importable(callbacks)
    rows, experiment = experiment_of(rows, model, accept_leakage, options, name)
    if detach:
        plugins.check_elsewhere(experiment.plugins)
    run = Run.create(Store(folder), experiment.replace(callbacks=specs_of(callbacks)), rows)
    return _go(run, detach, background, processes, list(callbacks) or None)


@known_settings
def train(
    experiment: Experiment | str | Path | None = None,
    *,
    resume: str | None = None,
    name: str | None = None,
    folder: str | Path | None = None,
    processes: int = 1,
    changes: Mapping[str, Any] | None = None,
) -> Run:
    """Train an experiment file in the foreground, or resume a run.

    Args:
        experiment: an :class:`Experiment`, or the path of its TOML file.
        resume: id or name of a run to resume from its latest checkpoint, instead of an experiment.
        name: a name for the run, instead of the one in the file.
        folder: the lab folder.
        processes: number of training processes; above 1, this process only supervises them.
        changes: settings of the file that are replaced, such as ``{"train.epochs": 5}``.
    """
    if resume is not None:
        run = Run(Store(folder), resume)
    else:
        run = create(experiment, name=name, folder=folder, changes=changes)
    _go(run, detach=processes > 1, background=True, processes=processes)
    _foreground(run)
    return run


def create(
    experiment: Experiment | str | Path | None,
    *,
    name: str | None = None,
    folder: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Run:
    """Create a run of an experiment (or of its TOML file) without starting it; ``changes`` are settings of
    the file that are replaced, such as ``{"train.epochs": 5}``."""
    require("train")
    if not isinstance(experiment, Experiment):
        if experiment is None:
            raise ConfigError(_("give an experiment file or a run to resume."))
        path = Path(experiment)
        if not path.exists():
            raise ConfigError(
                _(
                    "experiment file {path!r} not found. `labkit new DATA` writes one, and `run.toml()` returns one."
                ),
                path=str(path),
            )
        experiment = own_experiment(read_text(path), changes or {})
    if name:
        experiment = experiment.replace(name=name)
    rows = experiment.data.load(experiment.task)
    experiment = experiment.replace(data=experiment.data.replace(columns=rows.schema.text))
    return Run.create(Store(folder), experiment, rows)


@known_settings
def runs(folder: str | Path | None = None) -> Runs:
    """The runs of a lab folder, newest first."""
    return Runs(Store(folder))


@known_settings
def open_run(run: str, folder: str | Path | None = None) -> Run:
    """Open a run by id, or the newest run with this name."""
    return Run(Store(folder), run)


def predictor(run: str | Path, folder: str | Path | None = None, plugins: Sequence[str] = ()) -> Predictor:
    """Load the trained model of a run (id or name), or of a folder written by ``run.export``.

    ``plugins``: modules that the settings of such a folder may have imported.
    """
    from labkit.inference.predictor import Predictor

    if (Path(run) / "labkit.toml").exists():
        return Predictor(run, plugins=plugins)
    return open_run(str(run), folder).predictor


@known_settings
def serve(
    model: Run | Predictor | str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "",
    rate: float = 10.0,
    hosts: Sequence[str] = (),
    examples: int = 64,
    characters: int = 10_000,
    patience: float | None = None,
    connections: int = 400,
    folder: str | Path | None = None,
    plugins: Sequence[str] = (),
) -> Endpoint:
    """Serve a model over HTTP in a background thread until ``close()``; see ``Endpoint``.

    Args:
        model: a run, its id or name, a folder written by ``run.export``, or a predictor.
        host, port, token, rate: address, authentication token, and maximum requests per second and client.
        hosts: additional accepted Host headers, such as the name of a proxy.
        examples, characters: maximum examples per request, and characters per text.
        patience: timeout in seconds for reading a request, for predicting, and for sending the response
        (default: 10).
        connections: maximum simultaneous connections.
        folder: the lab folder, for a run by name.
        plugins: modules that the settings of an exported folder may have imported.
    """
    from labkit.inference.predictor import Predictor
    from labkit.inference.server import Endpoint

    if isinstance(model, Run):
        model = model.predictor
    found = model if isinstance(model, Predictor) else predictor(model, folder, plugins)
    limits = {
        "examples": examples,
        "characters": characters,
        "patience": patience,
        "connections": connections,
    }
    return Endpoint(found, host, port, token, rate, hosts=hosts, **limits)


def _go(
    run: Run,
    detach: bool,
    background: bool | None,
    processes: int = 1,
    callbacks: Sequence[Callback] | None = None,
) -> Run:
    if background is None:
        from labkit.core.frontend import is_live

        background = is_live()
    run.start(detach=detach, processes=processes, callbacks=callbacks)
    if not (detach or background):
        _foreground(run)
    return run


def _foreground(run: Run) -> None:
    """Show progress until the run is over. The first interrupt (or SIGTERM) stops it at the next step, its
    model kept; a second one goes through."""
    renew, close = _watcher(run)
    since = time.monotonic()
    with interrupt_stops(run):
        while True:
            try:
                if run.info.over:
                    break
                renew()
                since = time.monotonic()
            except StoreError:  # a run in this process waits for room as well, and then ends
                if not liveness.has_thread(run.store.folder, run.id) or time.monotonic() - since > UNREADABLE:
                    raise
            time.sleep(0.1)
    close()
    run.wait()


def _watcher(run: Run) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What renews and what closes the display of a run in the foreground: the live panel where its buttons
    are heard all the same, else a picture in a notebook, else a bar."""
    from labkit.core.frontend import cell, frontend, hears_while_busy

    if frontend() == "none":
        from labkit.runs.progress import ProgressBar

        bar = ProgressBar(run.store, run.id)
        return bar.update, bar.close
    run._shown = cell()
    if hears_while_busy():
        run.show()  # and a thread renews it
        return (lambda: None), (lambda: None)
    from labkit.app.live_picture import PicturePanel

    panel = PicturePanel(run)
    panel.display(follow=False)
    return panel.refresh, panel.refresh


@contextlib.contextmanager
def interrupt_stops(run: Run) -> Iterator[None]:
    """Within it an interrupt (SIGINT) or SIGTERM stops the run after its step; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, before[signum])
        try:
            run.stop()
        except StoreError:  # on a full disk
            run.store.unwritten.append("stop")
        except RunError:
            pass

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _headline(info: RunInfo) -> dict[str, Any]:
    summary = info.summary
    seconds = (info.ended or time.time()) - info.started if info.started else None
    return {
        "id": info.id,
        "name": info.name,
        "status": info.status,
        "step": info.step,
        "steps": info.steps,
        "validation_f1": summary.get("validation_f1"),
        "test_f1": summary.get("test_f1"),
        "parameters": summary.get("parameters"),
        "seconds": None if seconds is None else round(seconds, 1),
    }


def _flat(info: RunInfo) -> dict[str, Any]:
    """Every setting of the run's experiment, the names joined by dots."""
    found: dict[str, Any] = {}

    def walk(values: dict[str, Any], place: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{place}{key}.")
            else:
                found[place + key] = value

    walk(info.settings(), "")
    found.pop("name", None)
    return found
