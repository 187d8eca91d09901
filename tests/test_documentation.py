"""The Markdown files: every link leads somewhere, and what they say of files, settings and commands is so."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from imgsvc.domain.options import OPTIONS
from imgsvc.domain.problems import WARNINGS
from imgsvc.jobs.scripts import acl_rule
from imgsvc.runtime.client_settings import ClientSettings
from imgsvc.runtime.environment import PREFIX, RENAMED
from imgsvc.runtime.loading import load
from imgsvc.runtime.settings import Settings
from tests.test_house import MAY_IMPORT

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
USING = ROOT / ".github" / "USING.md"
OPERATING = ROOT / ".github" / "OPERATING.md"
CONTRIBUTING = ROOT / ".github" / "CONTRIBUTING.md"
PAGES = sorted(
    path
    for folder in ("*.md", ".github/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(folder)
    if "node_modules" not in path.parts
)

FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCE_FILE = re.compile(r"`([\w./-]+\.(?:py|lua|js|css|html|md|toml|yaml|yml))`")
SETTING = re.compile(rf"\b{PREFIX}[A-Z0-9_]*[A-Z0-9]\b")
COMPOSE_VARIABLE = re.compile(r"\$\{(\w+)")


def anchors(text: str) -> set[str]:
    """The fragments that GitHub gives a page's headings."""
    found: list[str] = []
    for heading in HEADING.findall(FENCE.sub("", text)):
        name = re.sub(r"[^\w -]", "", LINK.sub("", heading).lower()).replace(" ", "-")
        found.append(f"{name}-{found.count(name)}" if name in found else name)
    return set(found)


def links(text: str) -> list[str]:
    return LINK.findall(CODE.sub("", FENCE.sub("", text)))


def broken(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere; none is requested."""
    for link in links(page.read_text("utf-8")):
        url = urlsplit(link)
        if url.scheme:
            if url.scheme != "https" or not url.hostname:
                yield f"{link}: not an https URL"
            continue
        target = page.parent / url.path if url.path else page
        if not target.is_file():
            yield f"{link}: no such file"
        elif url.fragment and url.fragment not in anchors(target.read_text("utf-8")):
            yield f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_a_broken_link_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `code` title, again\n## Twice\n## Twice\n```\n# no heading\n[no](link)\n```\n`[no](link)`\n"
        "[1](#a-code-title-again) [2](page.md#twice-1) [3](https://example.com/x)\n"
        "[4](#no-heading) [5](other.md) [6](page.md#twice-2) [7](http://example.com) ![8](picture.png)\n"
    )
    assert [problem.partition(":")[0] for problem in broken(page)] == [
        "#no-heading",
        "other.md",
        "page.md#twice-2",
        "http",
        "picture.png",
    ]


def test_the_pages_that_people_and_github_look_for_are_there() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert names >= {
        *("README.md", "CHANGELOG.md", "tests/README.md", "tests/bench/README.md"),
        *(f".github/{name}.md" for name in ("USING", "OPERATING", "CONTRIBUTING", "SECURITY", "PULL_REQUEST_TEMPLATE")),
    }


def test_the_readme_can_be_read_in_ten_minutes_and_leads_to_every_page() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 220
    linked = {(README.parent / urlsplit(link).path).resolve() for link in links(text) if not urlsplit(link).scheme}
    assert {page for page in PAGES if page.name != "PULL_REQUEST_TEMPLATE.md"} - linked <= {README}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page: Path) -> None:
    folders = (ROOT, ROOT / "imgsvc", ROOT / "tests", page.parent)
    named = {name for name in SOURCE_FILE.findall(FENCE.sub("", page.read_text("utf-8"))) if "/" in name}
    assert [name for name in sorted(named) if not any((folder / name).is_file() for folder in folders)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_is_named_exists(page: Path) -> None:
    settings = {PREFIX + name.upper() for name in Settings.model_fields | ClientSettings.model_fields}
    known = settings | {f"{name}_FILE" for name in settings}
    known |= RENAMED.keys()
    known |= set(COMPOSE_VARIABLE.findall((ROOT / "compose.yaml").read_text("utf-8")))
    assert sorted(set(SETTING.findall(page.read_text("utf-8"))) - known) == []


def column(page: Path, header: str) -> list[str]:
    """The names in backticks in the first column of a table."""
    table = page.read_text("utf-8").partition(f"\n{header}\n")[2].partition("\n\n")[0]
    return [name for row in table.splitlines()[1:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_the_options_of_an_upload_are_all_explained() -> None:
    options = column(USING, "| option | meaning |")
    assert options == list(OPTIONS)


def test_the_warnings_of_a_result_are_all_explained() -> None:
    assert column(USING, "| code | meaning |") == list(WARNINGS)


def test_the_packages_are_all_described_and_import_only_those_below() -> None:
    packages = [name.rstrip("/").removesuffix(".py") for name in column(CONTRIBUTING, "| package | what is in it |")]
    rooms = {room: others for room, others in MAY_IMPORT.items() if not room.startswith("api.")}
    assert sorted(packages) == sorted(rooms)
    for at, package in enumerate(packages):
        assert rooms[package] <= set(packages[at + 1 :]), package


def test_the_acl_rule_is_the_one_that_imgsvc_doctor_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_REDIS_URL", "redis://localhost:6379/0")
    found = re.search(r"<!-- acl -->\n```\n(.*)\n```\n<!-- /acl -->", OPERATING.read_text("utf-8"))
    assert found, "OPERATING.md has no ACL rule"
    assert found[1] == acl_rule(load(Settings))


def test_the_command_that_passes_the_tests_is_the_one_that_ci_runs() -> None:
    commands = [line for line in README.read_text("utf-8").splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2, "one that runs it, one that passes the tests"
    assert "python -m imgsvc" in commands[0]
    assert commands[1] in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
