"""What the repository's host reads: workflows, templates and their commands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    """Every step of every job."""
    return [
        step for job in yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values() for step in job["steps"]
    ]


def commands(workflow: Path) -> str:
    return "\n".join(step["run"] for step in steps(workflow) if "run" in step)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_reads_only_and_ends_in_time(path: Path) -> None:
    content = yaml.safe_load(path.read_text("utf-8"))
    assert content["name"] == path.stem and content[True]  # "on" is a boolean in YAML 1.1
    assert content["permissions"] == {"contents": "read"}
    for name, job in content["jobs"].items():
        assert "timeout-minutes" in job or name == "publish"
        assert all(
            re.fullmatch(r"[\w-]+/[\w-]+@\w[\w./]*", step["uses"]) for step in job["steps"] if "uses" in step
        )
    assert "secrets." not in path.read_text("utf-8") and "password" not in commands(path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_calls_exists(path: Path) -> None:
    text = commands(path)
    project, marks = PROJECT["project"], PROJECT["tool"]["pytest"]["ini_options"]["markers"]
    assert set(re.findall(r"'\.\[(\w+)\]'", text)) <= set(project["optional-dependencies"])
    assert all((ROOT / file).exists() for file in re.findall(r"\btests/[\w/]+\.py|\.ci/run", text))
    known = {mark.partition(":")[0] for mark in marks}
    for expression in re.findall(r'pytest -m "([^"]*)"', text):
        assert set(re.findall(r"\w+", expression)) - {"not", "and", "or"} <= known


def test_the_tests_run_as_the_readme_and_the_gate_say_on_every_python() -> None:
    path = GITHUB / "workflows" / "test.yml"
    install = "python -m pip install '.[test]'"
    for text in (
        commands(path),
        (ROOT / "README.md").read_text("utf-8"),
        (ROOT / ".ci" / "run").read_text("utf-8"),
    ):
        assert install in text and "python -m pytest" in text
    job = yaml.safe_load(path.read_text("utf-8"))["jobs"]["test"]
    versions = job["strategy"]["matrix"]["python"]
    assert versions == sorted(versions, key=lambda version: int(version.split(".")[1]))
    assert PROJECT["project"]["requires-python"] == f">={versions[0]}" and versions[-1] == "3.14"


def test_a_release_is_published_without_a_stored_password() -> None:
    jobs = yaml.safe_load((GITHUB / "workflows" / "release.yml").read_text("utf-8"))["jobs"]
    assert jobs["publish"]["needs"] == ["build", "sign"] and jobs["publish"]["permissions"] == {
        "id-token": "write"
    }
    assert "permissions" not in jobs["build"]


def test_a_release_has_a_bill_of_materials_an_audit_and_a_signature() -> None:
    path = GITHUB / "workflows" / "release.yml"
    jobs, text = yaml.safe_load(path.read_text("utf-8"))["jobs"], commands(path)
    (bill,) = re.findall(r"cyclonedx-py environment .*? -o (\S+)", text.replace("\\\n", ""))
    uploaded = [
        step["with"]["path"] for step in jobs["build"]["steps"] if "upload-artifact" in step.get("uses", "")
    ]
    assert bill in uploaded and "pip-audit" in text
    signed = {step["uses"].partition("@")[0]: step["with"] for step in jobs["sign"]["steps"]}
    assert signed["actions/attest-sbom"]["sbom-path"] == bill
    assert signed["actions/attest-build-provenance"]["subject-path"] == "dist/*"
    assert jobs["sign"]["permissions"] == {"id-token": "write", "attestations": "write"}


def test_the_lowest_versions_are_tested() -> None:
    job = yaml.safe_load((GITHUB / "workflows" / "test.yml").read_text("utf-8"))["jobs"]["minimum"]
    text = "\n".join(step.get("run", "") for step in job["steps"])
    assert "--resolution lowest-direct '.[test]'" in text
    assert all((ROOT / place).exists() for place in re.findall(r"tests/\S+", text))
    unbounded = [line for line in PROJECT["project"]["dependencies"] if ">=" not in line]
    assert not unbounded


@pytest.mark.parametrize(
    "path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_a_template_is_a_form(path: Path) -> None:
    content = yaml.safe_load(path.read_text("utf-8"))
    if path.stem == "config":
        assert content == {"blank_issues_enabled": True, "contact_links": []}
        return
    assert content["name"] and content["description"] and content["labels"]
    identifiers = [part["id"] for part in content["body"]]
    assert len(identifiers) == len(set(identifiers))
    assert all(
        part["type"] in ("textarea", "checkboxes") and part["attributes"]["label"] for part in content["body"]
    )


def test_the_pull_request_template_names_what_exists() -> None:
    text = (GITHUB / "pull_request_template.md").read_text("utf-8")
    for module in re.findall(r"python -m (tests\.\w+)", text):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("name", ["live", "bench", "evaluate", "train-zh", "live-moving"])
def test_pictures_stay_small(name: str) -> None:
    path = GITHUB / f"{name}.png"
    assert path.stat().st_size < (1_500_000 if name == "live-moving" else 300_000)


def test_binder_installs_what_the_environment_file_installs() -> None:
    """The package is installed by postBuild: a pip section is resolved before Binder has the repository."""
    root = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    binder = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text("utf-8"))
    (pip,) = [entry["pip"] for entry in root["dependencies"] if isinstance(entry, dict)]
    plain = [entry for entry in root["dependencies"] if not isinstance(entry, dict)]
    assert binder == {**root, "dependencies": plain}
    script = ROOT / ".binder" / "postBuild"
    lines = script.read_text("utf-8").splitlines()
    assert lines[0].startswith("#!") and "set -euo pipefail" in lines and script.stat().st_mode & 0o100
    installed = re.findall(r"pip install --no-cache-dir '([^']+)'", "\n".join(lines))
    assert installed == pip
    assert f"python>={PROJECT['project']['requires-python'].removeprefix('>=')}" in plain
