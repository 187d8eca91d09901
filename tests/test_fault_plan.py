"""The fault plan in tests/README.md and the tests that hold its rows are the same rows."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
ROW = re.compile(r"^\| ([A-Z]\d+) \|", re.MULTILINE)
TEST = re.compile(r"^(?:async )?def test_((?:[a-z]\d+_)+)", re.MULTILINE)


def rows() -> list[str]:
    return ROW.findall((TESTS / "README.md").read_text("utf-8"))


def held() -> set[str]:
    names = (name for path in TESTS.rglob("test_*.py") for name in TEST.findall(path.read_text("utf-8")))
    return {row.upper() for name in names for row in name.strip("_").split("_")}


def test_each_row_of_the_fault_plan_has_a_test_and_each_such_test_a_row() -> None:
    assert set(rows()) == held()


def test_each_row_is_there_once() -> None:
    assert len(rows()) == len(set(rows()))
