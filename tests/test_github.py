"""What GitHub reads: the workflow runs what contributors run, and what else is configured names things that exist."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
WORKFLOW: dict[Any, Any] = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text("utf-8"))
DEPENDABOT: dict[str, Any] = yaml.safe_load((GITHUB / "dependabot.yml").read_text("utf-8"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
# ecosystem: the files of a directory that it updates
MANIFESTS = {
    "pip": "pyproject.toml",
    "docker": "Containerfile",
    "docker-compose": "compose.yaml",
    "github-actions": ".github/workflows",
    "npm": "package-lock.json",
}
STEPS: list[dict[str, Any]] = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
FILE = re.compile(r"[\w./-]*\w\.(?:md|py|toml|ya?ml)\b")


def test_the_workflow_runs_on_each_change_within_a_time_limit() -> None:
    # YAML 1.1 takes the key `on` for true
    assert WORKFLOW[True].keys() >= {"push", "pull_request"}
    assert WORKFLOW["permissions"] == {"contents": "read"}
    for job in WORKFLOW["jobs"].values():
        assert job["runs-on"].startswith("ubuntu-")
        assert 0 < job["timeout-minutes"] <= 120


def test_the_workflow_runs_the_script_that_contributors_run() -> None:
    commands = [step["run"].split() for step in STEPS if "run" in step]
    assert [command[-1] for command in commands] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_workflow_covers_the_oldest_supported_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (job,) = WORKFLOW["jobs"].values()
    assert job["strategy"]["matrix"]["python"][0] == project["requires-python"].removeprefix(">=")


def test_the_workflow_uses_actions_by_commit() -> None:
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)


def test_dependabot_looks_for_updates_where_there_are_dependencies() -> None:
    assert DEPENDABOT["version"] == 2
    for update in DEPENDABOT["updates"]:
        for directory in update.get("directories", [update.get("directory")]):
            assert (ROOT / directory.strip("/") / MANIFESTS[update["package-ecosystem"]]).exists(), update
    locked = {path.parent for path in ROOT.glob("tests/**/package-lock.json") if "node_modules" not in path.parts}
    (npm,) = [update for update in DEPENDABOT["updates"] if update["package-ecosystem"] == "npm"]
    assert {ROOT / directory.strip("/") for directory in npm["directories"]} == locked


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_can_be_filled_in(path: Path) -> None:
    form: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    assert form["name"]
    assert form["description"]
    fields: list[dict[str, Any]] = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in fields)
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", [*FORMS, GITHUB / "PULL_REQUEST_TEMPLATE.md"], ids=lambda path: path.name)
def test_a_template_names_files_that_exist(path: Path) -> None:
    named = set(FILE.findall(path.read_text("utf-8")))
    assert [name for name in sorted(named) if not any((folder / name).is_file() for folder in (ROOT, GITHUB))] == []


def test_there_are_templates_for_issues() -> None:
    assert [path.stem for path in FORMS] == ["bug", "feature", "question"]
