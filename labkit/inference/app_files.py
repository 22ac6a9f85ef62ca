"""Programs around an exported model: a Dockerfile of ``labkit serve``, and an app of Gradio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from labkit.core.errors import ConfigError, nearest
from labkit.i18n import _
from labkit.tasks.base import ProblemType
from labkit.train.experiment import Experiment

#: Port of the endpoint in the container.
PORT = 8000

_DOCKERFILE = """\
# labkit serve in a container:
#   docker build -t my-model .
#   docker run --rm -p 127.0.0.1:{port}:{port} -e LABKIT_TOKEN="a secret of 16 characters or more" my-model
FROM python:3.12-slim
# another source of labkit: --build-arg LABKIT="labkit @ git+https://…", or the name of a wheel beside this file
ARG LABKIT="labkit=={version}"
RUN useradd --create-home --uid 1000 labkit
WORKDIR /home/labkit
COPY --chown=labkit . model/
RUN cd model && python -m pip install --no-cache-dir "$LABKIT"
USER labkit
ENV LABKIT_CACHE=/tmp/labkit LABKIT_OFFLINE=1
EXPOSE {port}
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \\
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:{port}/health/ready')"]
STOPSIGNAL SIGTERM
CMD ["labkit", "serve", "model", "--host", "0.0.0.0", "--port", "{port}", "--drain", "5"]
"""

_GRADIO = '''\
"""A page for this model: python -m pip install gradio labkit && python app.py"""

from pathlib import Path

import gradio as gr

import labkit as lk

predictor = lk.Predictor(Path(__file__).parent)


def predict({arguments}):
    {call}
    {answer}


app = gr.Interface(
    predict,
    inputs={inputs},
    outputs={outputs},
    title={title},
    flagging_mode="never",
)

if __name__ == "__main__":
    app.launch()
'''


def check_apps(names: Sequence[str]) -> None:
    """Raise :class:`ConfigError` for a program that labkit does not write."""
    for name in names:
        if name not in APPS:
            raise ConfigError(
                _("unknown app {name!r}.{hint} Known: {known}."),
                name=name, hint=nearest(name, APPS), known=", ".join(APPS),
            )  # fmt: skip


def write_apps(folder: Path, names: Sequence[str], experiment: Experiment) -> None:
    """Write programs into the folder of an exported model.

    Raises:
        ConfigError: an unknown name, or a model that they cannot use.
    """
    check_apps(names)
    for name in names:
        APPS[name](folder, experiment)


def _write_dockerfile(folder: Path, experiment: Experiment) -> None:
    _check_predicts(experiment)
    (folder / "Dockerfile").write_text(
        _DOCKERFILE.format(version=metadata.version("labkit"), port=PORT), encoding="utf-8"
    )


def _write_gradio(folder: Path, experiment: Experiment) -> None:
    _check_predicts(experiment)
    modality, columns = experiment.model.modality, experiment.data.columns
    if modality == "text" and len(columns) == 2:
        arguments, call = "first, second", "found = predictor.predict([first], [second])[0]"
        inputs = f"[gr.Textbox(label={columns[0]!r}), gr.Textbox(label={columns[1]!r})]"
    elif modality == "text":
        arguments, call, label = "text", "found = predictor.predict(text)", columns[0] if columns else "text"
        inputs = f"gr.Textbox(label={label!r}, lines=3)"
    elif modality == "image":
        arguments, call, inputs = "path", "found = predictor.predict([path])[0]", 'gr.Image(type="filepath")'
    elif modality == "audio":
        arguments, call, inputs = "path", "found = predictor.predict([path])[0]", 'gr.Audio(type="filepath")'
    else:
        arguments, inputs = "row", 'gr.JSON(label="a row by column name", value={})'
        call = "found = predictor.predict([row])[0]"
    if experiment.task.problem_type is ProblemType.NUMBER:
        answer, outputs = "return found.value", 'gr.JSON(label="prediction")'
    else:
        answer, outputs = "return found.probability", 'gr.Label(label="prediction")'
    text = _GRADIO.format(
        arguments=arguments, call=call, answer=answer, inputs=inputs, outputs=outputs,
        title=repr(experiment.name or "labkit model"),
    )  # fmt: skip
    (folder / "app.py").write_text(text, encoding="utf-8")
    (folder / "requirements.txt").write_text("gradio>=5\nlabkit\n", encoding="utf-8")


def _check_predicts(experiment: Experiment) -> None:
    if experiment.task.problem_type is None:
        raise ConfigError(_("apps need a model that lk.Predictor opens: of classes, labels or numbers."))


#: Name → what writes it.
APPS: dict[str, Callable[[Path, Experiment], None]] = {"docker": _write_dockerfile, "gradio": _write_gradio}
