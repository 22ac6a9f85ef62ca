"""Public functions: fit a model, open a run, list runs. Cost estimates are in :mod:`labkit.planning`."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

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
from labkit.runs.overview import COLUMNS, flat_settings, overview
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
    from labkit.evaluate.diagnostics import DiagnosticReport
    from labkit.evaluate.evaluate import EvaluationReport
    from labkit.evaluate.fairness import FairnessReport, GroupThresholds
    from labkit.evaluate.forecast import ForecastReport
    from labkit.evaluate.generation import GenerationReport
    from labkit.evaluate.membership import MembershipReport
    from labkit.evaluate.recommend import RecommendReport
    from labkit.evaluate.report import ClassificationReport
    from labkit.evaluate.scores import Scores
    from labkit.evaluate.segmentation import SegmentationReport
    from labkit.evaluate.speech import SpeechReport
    from labkit.evaluate.translation import TranslationReport
    from labkit.explain.explanation import AttentionWeights, Explanation
    from labkit.inference.drift import DriftResult
    from labkit.inference.fill_mask import TokenPrediction
    from labkit.inference.image_generation import GeneratedImages
    from labkit.inference.pipeline import Pipeline
    from labkit.inference.predictor import Predictor
    from labkit.inference.prompting import PromptClassifier
    from labkit.inference.registry import RowPipeline
    from labkit.inference.server import Endpoint
    from labkit.more_labels import LearningCurve
    from labkit.runs.tracking.copies import MetricsExport
    from labkit.search.challenge import Challenge
    from labkit.tasks.scenario import Scenario
    from labkit.train.experiment import ModelSource

Opened = TypeVar("Opened", bound="Pipeline")
#: What can be served: a run, its id or name, an exported folder, or a predictor.
Servable: TypeAlias = "Run | RowPipeline | str | Path"
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

    @property
    def row_predictor(self) -> RowPipeline:
        """The trained model as it answers rows of tables: a predictor, or what tags words."""
        from labkit.inference.registry import row_kind

        return self._pipeline(row_kind(self.experiment.task))

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

    def chat(self, messages: str | Sequence[Mapping[str, str]], **settings: object) -> str:
        """Answer a question or a conversation; see :meth:`labkit.TextGenerationPipeline.chat`."""
        from labkit.inference.text_generation import TextGenerationPipeline

        return self._pipeline(TextGenerationPipeline).chat(messages, **settings)

    def stream_chat(self, messages: str | Sequence[Mapping[str, str]], **settings: object) -> Iterator[str]:
        """Answer, and yield the answer so far while it is generated; see
        :meth:`labkit.TextGenerationPipeline.stream_chat`."""
        from labkit.inference.text_generation import TextGenerationPipeline

        return self._pipeline(TextGenerationPipeline).stream_chat(messages, **settings)

    def next_tokens(self, prompt: str, top: int = 10, **settings: object) -> list[TokenPrediction]:
        """The most likely next tokens after a prompt, with their probabilities; see
        :meth:`labkit.TextGenerationPipeline.next_tokens`."""
        from labkit.inference.text_generation import TextGenerationPipeline

        return self._pipeline(TextGenerationPipeline).next_tokens(prompt, top, **settings)

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

    def forecast(self, table: RowSource | None = None, **options: Any) -> pd.DataFrame:
        """Forecast the next steps of time series, by default of the rows of this run; see
        :meth:`labkit.ForecastPipeline.forecast`."""
        from labkit.inference.forecasting import ForecastPipeline

        return self._pipeline(ForecastPipeline).forecast(self.rows if table is None else table, **options)

    def transcribe(self, sounds: Any, **settings: Any) -> Any:
        """Transcribe sounds, WAV files or arrays; see :meth:`labkit.SpeechRecognitionPipeline.transcribe`."""
        from labkit.inference.speech_recognition import SpeechRecognitionPipeline

        return self._pipeline(SpeechRecognitionPipeline).transcribe(sounds, **settings)

    def recommend(
        self, items: Sequence[str] = (), *, user: str | None = None, count: int = 10, seen: bool = False
    ) -> pd.DataFrame:
        """Recommend what comes next after some items, or to a user of the rows of this run; see
        :meth:`labkit.RecommendPipeline.recommend`."""
        from labkit.inference.recommending import RecommendPipeline

        pipeline = self._pipeline(RecommendPipeline)
        if (user is None) == (not items):
            raise ConfigError(_("give either items or a user: run.recommend([…]) or run.recommend(user=…)."))
        return (
            pipeline.recommend(items, count, seen)
            if user is None
            else pipeline.for_user(self.rows, user, count, seen)
        )

    def segment(self, pictures: Any) -> Any:
        """The class of every pixel of pictures; see :meth:`labkit.SegmentationPipeline.segment`."""
        from labkit.inference.segmenting import SegmentationPipeline

        return self._pipeline(SegmentationPipeline).segment(pictures)

    def generate_images(
        self, n: int | None = None, label: str | Sequence[str] | None = None, **settings: Any
    ) -> GeneratedImages:
        """New pictures; see :meth:`labkit.ImageGenerationPipeline.generate`."""
        from labkit.inference.image_generation import ImageGenerationPipeline

        return self._pipeline(ImageGenerationPipeline).generate(n, label, **settings)

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
    def tag(self, sentences: str | Sequence[str] | Sequence[Sequence[str]]) -> Any:
        """A tag for every word of sentences; see :meth:`labkit.TokenClassificationPipeline.tag`."""
        from labkit.inference.tagging import TokenClassificationPipeline

        return self._pipeline(TokenClassificationPipeline).tag(sentences)

    @known_settings
    def evaluate(
        self, split: str = "test", baselines: bool = True, scenario: Scenario | None = None
    ) -> EvaluationReport | ForecastReport | RecommendReport | SegmentationReport | Scores:
        """Evaluate the model on a split: scores with confidence intervals, confusion matrix, errors and
        baselines.

        With a ``scenario``, or one that the run was trained with, ``report.decision`` has the expected cost of its
        decisions a day, by the threshold of the least cost on the validation rows
        (:mod:`labkit.evaluate.decision`).

        Other tasks have their own metrics: loss, perplexity, accuracy … The baseline of a language model is
        an n-gram model of the training rows (:mod:`labkit.evaluate.ngram`). Translations (greedy) are scored by
        BLEU and chrF++ and compared with a translation memory; see :meth:`translation_report`.
        """
        from labkit.evaluate import run_report

        report = run_report.evaluate_run(self, split, baselines, scenario)
        found = dict(report.scores)
        if report.decision is not None:
            found["cost"] = report.decision.cost
        self.store.update(self.id, summary={f"{split}_{name}": value for name, value in found.items()})
        return report

    def translation_report(
        self, split: str = "test", baselines: bool = True, **settings: Any
    ) -> TranslationReport:
        """Translate a split and score it: BLEU and chrF++ with intervals, on all sources and on those that do not
        occur in the training split, and the paired gain over a translation memory.

        Args:
            split: which rows; of more than 2,000 (200 for models of 20 M parameters or more) a random sample.
            baselines: compare with a translation memory of the training split.
            **settings: those of :meth:`labkit.TranslationPipeline.translate`, such as ``beams=4``.
        """
        from labkit.evaluate import run_report

        return run_report.translations_of(self, split, baselines, **settings)

    def speech_report(self, split: str = "test", baselines: bool = True, **settings: Any) -> SpeechReport:
        """Transcribe a split and score it: character and word error rates with intervals and aligned errors, and the
        paired gain over the most frequent transcript and the nearest training recording.

        Args:
            split: which rows; of more than 500 a random sample.
            baselines: compare with the most frequent transcript and the nearest recording of the training split.
            **settings: ``group``, a column for rates by group; ``beams``, to compare with a beam search with a language
                model; see :func:`labkit.evaluate.speech.speech_report`.
        """
        from labkit.evaluate import run_report

        return run_report.transcripts_of(self, split, baselines, **settings)

    def generation_report(
        self, classifier: Run, split: str = "test", baselines: bool = True, **settings: Any
    ) -> GenerationReport:
        """Generate as many pictures as a split has and compare them with it in the vectors of a classifier: Fréchet
        distance, precision, recall and accuracy of the classes, with intervals.

        Args:
            classifier: a run that classifies pictures of the same shape and classes.
            split: which rows; of more than 2,000 a random sample.
            baselines: show a Gaussian of each class, and other real pictures of the split, beside them.
            **settings: ``count``, ``guidance``, ``steps`` and ``seed``; see
                :func:`labkit.evaluate.generation.generation_report`.
        """
        from labkit.evaluate import run_report

        return run_report.generation_of(self, classifier, split, baselines, **settings)

    def compare(
        self, other: Run | ClassificationReport | PromptClassifier, split: str = "test"
    ) -> Comparison:
        """Compare with another run, or with a prompted language model (:class:`labkit.PromptClassifier`), on the same
        rows: scores, difference with confidence interval, McNemar's exact test."""
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

    def challenge(self, rows: RowSource, challenger: Run | None = None, **settings: Any) -> Challenge:
        """Retrain with new rows, and compare on new rows that neither model has seen, by a stated rule; ``settings``
        are those of :func:`labkit.search.challenge.challenge`."""
        from labkit.search.challenge import challenge

        return challenge(self, rows, challenger, watch=_foreground, **settings)

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

    def diagnostics(
        self,
        split: str = "test",
        positive: str | None = None,
        specificity: float = 0.95,
        baselines: bool = True,
    ) -> DiagnosticReport:
        """AUROC, average precision, Brier score and sensitivity at a specificity with intervals, and the decision
        curve of one class.

        Args:
            split: which rows.
            positive: the class; default: the one named as positive, else the rarest.
            specificity: at which the sensitivity is given.
            baselines: include baselines fitted on the training rows.
        """
        from labkit.evaluate import run_report

        return run_report.diagnostics(self, split, positive, specificity, baselines)

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

        return audit_run(self, split, references=references, canaries=canaries, seed=seed)

    def explain(self, example: object, pair: str | None = None, **settings: Any) -> Explanation:
        """Explain a prediction: attributions for and against a class; see ``Explainer.explain``."""
        return self.predictor.explain(example, pair, **settings)

    def attention(self, text: str, pair: str | None = None) -> AttentionWeights:
        """Attention weights of a BERT for one text, [layers, heads, tokens, tokens]; of a translation model
        cross-attention, [layers, heads, target tokens, source tokens], of its translation or of ``pair``."""
        from labkit.inference.registry import pipeline_of
        from labkit.inference.translation import TranslationPipeline

        tool = pipeline_of(self)
        return (tool if isinstance(tool, TranslationPipeline) else self.predictor).attention(text, pair)

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
        scenario: Scenario | None = None,
        language: str = "en",
    ) -> ModelCard:
        """The model card: scenario and intended use, data with hash and licences, leaks and personal data found,
        scores with intervals and baselines, groups, privacy, size, latency, energy and limits, with the metadata of
        the Hugging Face hub; see :func:`labkit.evaluate.card.model_card`. ``run.export(folder, card=card)`` writes
        it."""
        from labkit.evaluate.card import model_card

        names = [groups] if isinstance(groups, str) else groups
        return model_card(
            self, intended_use=intended_use, out_of_scope=out_of_scope, limits=limits, groups=names, positive=positive,
            licence=licence, split=split, measure=measure, scenario=scenario, language=language,
        )  # fmt: skip

    def export(
        self,
        folder: str | Path,
        card: ModelCard | None = None,
        *,
        onnx: bool = False,
        int8: bool = False,
        stablehlo: bool = False,
        page: bool = False,
        web: str | Path = "",
        apps: Sequence[str] = (),
    ) -> Path:
        """Export the model to a folder that :class:`labkit.Predictor` loads, with a README.md; ``card`` (:meth:`card`)
        makes it a full model card.

        Args:
            folder: a new one.
            card: the model card (:meth:`card`).
            onnx: write ``model.onnx``, with variable batch and length, and ``onnx.json``, which describes its inputs,
                outputs and preprocessing. Both need the extra "onnx".
            int8: write ``model.int8.onnx`` too, with weights of 8 bits, and its score on the test rows.
            stablehlo: write ``model.stablehlo``, which ``jax.export.deserialize`` reads for about six months.
            page: write ``page/index.html`` too, which answers texts, pictures or rows of a table in a browser without a
                network.
            web: folder or ``.tgz`` of the npm package onnxruntime-web for the page; by default ``npm pack`` fetches it
                once.
            apps: programs that use the folder: "docker" (a Dockerfile of ``labkit serve``), "gradio" (``app.py``, a
                page in the browser).

        Files of ONNX and StableHLO are written only if they agree with labkit to 1e-4 on 100 rows of the run.

        Text models give the same predictions in transformers: ``AutoTokenizer`` and the class named in
        config.json load the folder. A head on a pooling that transformers does not support is written as a
        sentence-transformers folder whose embeddings are the logits.

        Raises:
            ConfigError: the folder is not empty, other libraries would compute other results from this model, or it
                computes what a format has no operation for; the message names it.
            ExtraError: the extra "onnx" is not installed.
        """
        from labkit.evaluate.formats import Formats, export_run
        from labkit.inference.app_files import check_apps, write_apps

        check_apps(apps)
        formats = Formats(onnx, int8, stablehlo, page, web)
        made = export_run(self, Path(folder), "" if card is None else card.text, formats)
        write_apps(made, apps, self.experiment)
        return made

    def drift(
        self, examples: object, pairs: Sequence[str] | None = None, *, level: float = 0.02
    ) -> DriftResult:
        """Test whether new examples come from the distribution of the training rows: a permutation test of the
        energy distance on the inputs of the model (:mod:`labkit.inference.drift`).

        Args:
            examples, pairs: at least 20, as :meth:`predict` takes them.
            level: the false-alarm rate.
        """
        from labkit.inference.drift import DriftTest

        return DriftTest(self.predictor, self.rows, level)(examples, pairs)

    def export_metrics(self, to: str, target: str | Path = "", *, follow: bool = False) -> MetricsExport:
        """Copy the metrics of the run for another tool; the run store keeps the original.

        Args:
            to: "csv", "tensorboard", "mlflow", "trackio" or "wandb" (offline). All but "csv" need the extra of that
                name.
            target: a CSV file; a log folder of TensorBoard; a tracking URI of MLflow; a project of Trackio; a folder
                for W&B. An earlier copy of this run at the same target is replaced (W&B: a new folder).
            follow: keep copying, in a thread, until the run is over; ``wait()`` of the result blocks until then.

        Raises:
            ExtraError: the library is not installed.
            FolderError: the target cannot be written.
        """
        from labkit.runs.tracking.copies import MetricsExport

        return MetricsExport(self.store, self.id, to, str(target), follow)

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

    def __init__(self, store: Store, only: Collection[str] | None = None):
        self.store = store
        self._infos, self._unreadable = store.runs(), store.unreadable()
        if only is not None:
            self._infos = [info for info in self._infos if info.id in only]

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

        table = [{**_headline(info), **flat_settings(info)} for info in self._infos]
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
        **options: ``scenario`` (:class:`labkit.Scenario`: the decision, the cost of its mistakes, its limits);
            ``task``, a name ("classify", "multilabel", "regress", "lm", "pretrain", "qa", "tag", "seq2seq",
            "embed", "forecast", "recommend", "segment", "generate-images", "asr") or its settings; settings of the task
            (``max_length``, ``class_weights`` …), the training (``epochs``, ``batch_size``, ``seed``, ``patience`` …)
            and the optimizer (``learning_rate``, ``warmup``, ``freeze`` …); see :mod:`labkit.train.experiment`.
            ``warm_start``, a run or model folder, lets training begin from its weights.

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
    if isinstance(start := options.get("warm_start"), RunHandle):
        options["warm_start"] = str(model_of(start.info)[0])
    elif isinstance(start, Path):
        options["warm_start"] = str(start)
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


@known_settings
def import_runs(source: str, target: str | Path = "", *, folder: str | Path | None = None) -> Runs:
    """Enter the runs of another tool in a lab folder, to compare their curves; they have no model.

    A metric named ``eval/loss`` or ``val_loss`` becomes the loss of the validation rows, as the metrics of labkit are
    named. A run that was imported before is replaced.

    Args:
        source: "csv", "tensorboard", "mlflow", "trackio" or "wandb" (offline).
        target: where they are, as in :meth:`Run.export_metrics`.
        folder: the lab folder.

    Returns:
        The imported runs.

    Raises:
        DataError: the target cannot be read.
    """
    from labkit.runs.tracking.copies import import_runs

    store = Store(folder)
    return Runs(store, import_runs(store, source, str(target)))


def predictor(run: str | Path, folder: str | Path | None = None, plugins: Sequence[str] = ()) -> Predictor:
    """Load the trained model of a run (id or name), or of a folder written by ``run.export``.

    ``plugins``: modules that the settings of such a folder may have imported.
    """
    from labkit.inference.predictor import Predictor

    if (Path(run) / "labkit.toml").exists():
        return Predictor(run, plugins=plugins)
    return open_run(str(run), folder).predictor


def row_predictor(
    run: str | Path, folder: str | Path | None = None, plugins: Sequence[str] = ()
) -> RowPipeline:
    """As :func:`predictor`, also for models that tag words."""
    from labkit.inference.registry import row_pipeline

    if (Path(run) / "labkit.toml").exists():
        return row_pipeline(run, plugins)
    return open_run(str(run), folder).row_predictor


@known_settings
def serve(
    model: Servable | Mapping[str, Servable],
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
    batch: int = 32,
    drain: float = 0.0,
    drift: bool | RowSource = False,
    folder: str | Path | None = None,
    plugins: Sequence[str] = (),
) -> Endpoint:
    """Serve one or several models over HTTP in a background thread until ``close()``; see ``Endpoint``.

    Args:
        model: a run, its id or name, a folder written by ``run.export``, or a predictor; or several of them by name.
        host, port, token, rate: address, authentication token, and maximum requests per second and client.
        hosts: additional accepted Host headers, such as the name of a proxy.
        examples, characters: maximum examples per request, and characters per text.
        patience: timeout in seconds for reading a request, for predicting, and for sending the response
        (default: 10).
        connections: maximum simultaneous connections.
        batch: maximum examples of concurrent requests that are predicted together; 1: no batching.
        drain: seconds for which a closing endpoint still accepts requests while ``/health/ready`` is 503.
        drift: test every 100 new examples against the training rows. True: those of the run; or the rows themselves,
            with which an exported folder was trained.
        folder: the lab folder, for a run by name.
        plugins: modules that the settings of an exported folder may have imported.
    """
    from labkit.inference.drift import DriftTest
    from labkit.inference.predictor import Predictor
    from labkit.inference.registry import ROW_PIPELINES
    from labkit.inference.server import DEFAULT, Endpoint

    given = dict(model) if isinstance(model, Mapping) else {DEFAULT: model}

    def load(name: str) -> RowPipeline:
        source = given[name]
        if isinstance(source, ROW_PIPELINES):
            raise ConfigError(_("model {name!r} was given as an object; serve a folder or a run to reload it."),
                              name=name)  # fmt: skip
        return source.row_predictor if isinstance(source, Run) else row_predictor(source, folder, plugins)

    opened = {name: each if isinstance(each, ROW_PIPELINES) else load(name) for name, each in given.items()}
    tests = {}
    if drift is not False:
        for name, each in opened.items():
            if not isinstance(each, Predictor):
                raise ConfigError(_("model {name!r} has no test for drift: it tags words."), name=name)
            tests[name] = DriftTest(each, _trained_on(given[name], drift, folder))
    return Endpoint(
        opened, host, port, token, rate, hosts=hosts, examples=examples, characters=characters, patience=patience,
        connections=connections, batch=batch, drain=drain, load=load, drift=tests,
    )  # fmt: skip


def _trained_on(model: Servable, given: bool | RowSource, folder: str | Path | None) -> Rows:
    """The rows that a served model was trained on."""
    from labkit.inference.pipeline import experiment_in, is_folder

    if given is True:
        if isinstance(model, str | Path) and not is_folder(model):
            model = open_run(str(model), folder)
        if not isinstance(model, Run):
            raise ConfigError(
                _("an exported model has no training rows; give them: drift=rows, --drift-rows FILE.")
            )
        return model.rows
    if isinstance(given, Rows):
        return given
    if isinstance(model, str | Path) and is_folder(model):
        experiment = experiment_in(Path(model))
        return experiment.data.replace(source=str(given)).load(experiment.task)
    from labkit.data.io.load import load as load_rows

    return load_rows(given)


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
