"""Tests of the toolkits that come with Switchboard."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import HandClock
from webapp.agent.toolkits import calculator, clock
from webapp.agent.tools import Toolkit, by_name

CALCULATOR = calculator()
NUMBERS = st.integers(-(10**400), 10**400) | st.floats(allow_nan=False, allow_infinity=False)


def run(kit: Toolkit, name: str, **arguments: object) -> str:
    return by_name([kit])[name].run(json.dumps(arguments)).content


@pytest.mark.parametrize(
    ("name", "a", "b", "result"),
    [
        ("add", 5, 3, "8"),
        ("add", 5.5, 3, "8.5"),
        ("add", 5.5, 2.5, "8"),
        ("subtract", 5, 8, "-3"),
        ("multiply", 12345678901234567890, 10, "123456789012345678900"),
        ("divide", 6, 3, "2"),
        ("divide", 1, 4, "0.25"),
        ("divide", 10**40, 10, str(10**39)),
        ("divide", 1, 0, "Error: Division by zero is not defined."),
        ("divide", 1, 0.0, "Error: Division by zero is not defined."),
        ("multiply", 10**300, 10**300, "Error: The number is too large."),
        ("multiply", 1e300, 1e300, "Error: The number is too large."),
        ("add", 10**400, 0.5, "Error: The number is too large."),
    ],
)
def test_the_four_operations(name: str, a: object, b: object, result: str) -> None:
    assert run(CALCULATOR, name, a=a, b=b) == result


@pytest.mark.parametrize(
    ("base", "exponent", "result"),
    [
        (2, 10, "1024"),
        (2, -1, "0.5"),
        (2, 0.5, "1.4142135623730951"),
        (0, 0, "1"),
        (-1, 10**30, "1"),
        (1, 10**30, "1"),
        (9, 9**9, "Error: The number is too large."),
        (9.5, 10**9, "Error: The number is too large."),
        (0, -1, "Error: Division by zero is not defined."),
        (-8, 0.5, "Error: A fractional power of a negative number is not real."),
    ],
)
def test_powers_are_right_and_bounded(base: object, exponent: object, result: str) -> None:
    started = time.perf_counter()
    assert run(CALCULATOR, "power", base=base, exponent=exponent) == result
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    ("number", "result"),
    [
        (9, "3"),
        (10**40, str(10**20)),
        (2.25, "1.5"),
        (-1, "Error: The square root of a negative number is not real."),
        (10**400, "Error: The number is too large."),
    ],
)
def test_square_roots(number: object, result: str) -> None:
    assert run(CALCULATOR, "square_root", number=number) == result


@given(st.sampled_from(["add", "subtract", "multiply", "divide"]), NUMBERS, NUMBERS)
def test_a_calculation_gives_a_number_or_says_why_not(name: str, a: object, b: object) -> None:
    content = run(CALCULATOR, name, a=a, b=b)
    assert "failed" not in content
    if not content.startswith("Error: "):
        assert isinstance(json.loads(content), int | float)


@given(NUMBERS, NUMBERS)
def test_a_power_gives_a_number_or_says_why_not(base: object, exponent: object) -> None:
    assert "failed" not in run(CALCULATOR, "power", base=base, exponent=exponent)


@pytest.mark.parametrize("wrong", ["5", True, None, [1]])
def test_only_numbers_are_reckoned_with(wrong: object) -> None:
    content = run(CALCULATOR, "add", a=wrong, b=1)
    assert content.startswith("Error: The argument 'a' of add is wrong")


def test_numbers_are_described_as_numbers() -> None:
    spec = by_name([calculator()])["add"].spec
    assert spec.parameters["properties"] == {"a": {"type": "number"}, "b": {"type": "number"}}


def test_the_clock_tells_the_time_of_a_zone() -> None:
    kit = clock(HandClock(1_700_000_000_000))
    assert run(kit, "current_time") == "2023-11-14T22:13:20+00:00 (Tuesday, UTC)"
    assert run(kit, "current_time", zone="Asia/Tokyo") == (
        "2023-11-15T07:13:20+09:00 (Wednesday, Asia/Tokyo)"
    )


@pytest.mark.parametrize("zone", ["Nowhere/City", "", "../../etc/passwd", "/etc/passwd", "Europe"])
def test_an_unknown_zone_is_said_to_be_unknown(zone: str) -> None:
    content = run(clock(), "current_time", zone=zone)
    assert content == f"Error: There is no time zone named '{zone}'."


def test_the_clock_needs_no_arguments_and_describes_the_one_it_takes() -> None:
    spec = by_name([clock()])["current_time"].spec
    assert "required" not in spec.parameters
    assert "IANA" in spec.parameters["properties"]["zone"]["description"]
