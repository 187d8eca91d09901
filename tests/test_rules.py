"""What rules for values made of others promise: what is allowed is kept in one form, all else is refused."""

from dataclasses import dataclass
from typing import Literal

import pytest

from imgsvc.domain.rules import Rule, either, number, one_of, record, several, whole


@dataclass(frozen=True, slots=True)
class Spot:
    x: float
    y: float = 0.5


SPOT = record(Spot, {"x": number(0, 1), "y": number(0, 1)})


def test_an_object_is_kept_as_its_dataclass() -> None:
    assert SPOT.read({"x": 1, "y": 0.25}) == Spot(1.0, 0.25)
    assert SPOT.read({"x": 0}) == Spot(0.0, 0.5)
    assert SPOT.allowed == "an object with x (a number from 0 to 1), y (optional; a number from 0 to 1)"
    assert SPOT.schema["required"] == ["x"]


@pytest.mark.parametrize("value", [{}, {"y": 1}, {"x": 2}, {"x": None}, {"x": 0, "z": 0}, {"x": True}, [0, 0], "x", 1])
def test_an_object_with_anything_wrong_is_refused(value: object) -> None:
    assert SPOT.read(value) is None


def test_either_keeps_what_the_first_rule_that_allows_it_keeps() -> None:
    rule = either(one_of(Literal["none"]), whole(1, 9), SPOT)
    assert rule.read(3) == 3
    assert rule.read({"x": 0}) == Spot(0.0)
    assert rule.read(10) is None


def test_a_list_has_one_to_so_many_different_values() -> None:
    rule: Rule = several(whole(1, 9), 3)
    assert rule.read([3, 1]) == (3, 1)
    for wrong in ([], [1, 1], [1, 2, 3, 4], [0], "12", None, [True], [[1]]):
        assert rule.read(wrong) is None
