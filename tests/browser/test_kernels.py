"""The panels with older and newer kernels: buttons while a run trains, while a cell works, on a page opened then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .jupyter import Lab, until
from .test_live import BUSY, UNTIL_PAUSED, assert_clean, pressed, recorded, step, wait_status
from .test_train_panel import points

pytestmark = [pytest.mark.browser, pytest.mark.soak]

ROOT = str(Path(__file__).resolve().parents[2])


@pytest.fixture(scope="module", params=["6.31.0", "7.3.0", "7.4.0"])
def kernel(request: pytest.FixtureRequest, chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A JupyterLab whose kernels are of this version, put before the installed one."""
    place, folder = tmp_path_factory.mktemp("ipykernel"), tmp_path_factory.mktemp("lab")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place)]
    if subprocess.run([*install, f"ipykernel=={request.param}"], capture_output=True).returncode:
        pytest.skip(f"ipykernel {request.param} cannot be had here")
    shutil.copy(Path(__file__).with_name("trainer.py"), folder)
    path = os.pathsep.join([str(place), ROOT])
    with Lab(folder, chromium, env={"LABKIT_LANGUAGE": "en", "PYTHONPATH": path}) as lab:
        yield lab, request.param


def test_buttons_work_while_a_run_trains_and_on_a_page_opened_cold(kernel: Any):
    lab, version = kernel
    show = "run = trainer.start('runs', name='watched', steps=4000, pace=0.05)\npanel = lk.panels.Train(run)\npanel"
    page = lab.open(lab.notebook("kernel.ipynb", ["import time, trainer, labkit as lk", show, UNTIL_PAUSED]))
    page.run_cell(0)
    page.run_cell(1)
    assert page.execute("import ipykernel; answer = ipykernel.__version__") == version
    wait_status(page, "running")
    for button, status in (("Pause", "paused"), ("Resume", "running")):
        pressed(page, button)
        wait_status(page, status)
    until(lambda: step(page) > 20, "more steps")
    page.save()
    if version.startswith(
        "6."
    ):  # which has no subshells: a busy cell keeps every button and every new page waiting
        cold = lab.open("kernel.ipynb")
    else:
        page.run_cell(2, wait=False)
        page.wait_for(BUSY, 2)
        pressed(page, "Pause")
        page.wait_idle()
        assert page.text(2) == "'paused'"  # the cell saw it while it worked
        pressed(page, "Resume")
        wait_status(page, "running")
        page.run_cell(2, wait=False)
        page.wait_for(BUSY, 2)
        cold = lab.open("kernel.ipynb", idle=False)
    wait_status(cold, "running")
    pressed(cold, "Pause")
    wait_status(cold, "paused")
    page.wait_idle()
    assert version.startswith("6.") or page.text(2) == "'paused'"
    wait_status(page, "paused")
    until(
        lambda: points(cold)["train/loss"] == recorded(page)["train/loss"],
        "the whole history on the cold page",
    )
    for each in (page, cold):
        assert_clean(each)
        each.close()
