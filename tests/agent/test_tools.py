"""Tests of functions as tools: what a model is told of them and what running one gives."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from webapp.agent import Tool, ToolError, Toolkit, tool
from webapp.errors import ConfigurationError


class Colour(Enum):
    RED = "red"
    GREEN = "green"


@dataclass
class Point:
    x: int
    y: int


class Order(BaseModel):
    title: str
    lines: list[Point] = []


def make(function: Callable[..., Any]) -> Tool[..., Any]:
    return tool(function)


@tool
def look_up(
    city: str,
    unit: Literal["metric", "imperial"] = "metric",
    days: Annotated[int, Field(ge=1, le=7, description="how many days ahead")] = 1,
    note: str | None = None,
) -> str:
    """Look up the weather
    of a city.

    It is made up.

    Args:
        city: the name of the city,
            in any language
        unit (str): the system of units
    """
    return f"{city} {unit} {days} {note}"


def test_a_tool_is_described_by_its_name_its_docstring_and_its_types() -> None:
    spec = look_up.spec
    assert (spec.name, spec.description) == ("look_up", "Look up the weather of a city.")
    assert spec.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["city"],
        "properties": {
            "city": {"type": "string", "description": "the name of the city, in any language"},
            "unit": {
                "type": "string",
                "enum": ["metric", "imperial"],
                "default": "metric",
                "description": "the system of units",
            },
            "days": {
                "type": "integer",
                "minimum": 1,
                "maximum": 7,
                "default": 1,
                "description": "how many days ahead",
            },
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
    }


STYLES = {
    "google": """Find flights.

        Args:
            origin (str): where from: an airport,
                or a city
            via (list[str], optional): where between
            seats (:obj:`int`): how many

        Returns:
            str: the flights
        """,
    "google with blank lines": """Find flights.

        Args:

            origin: where from: an airport, or a city

            via: where between

        Keyword Args:
            seats: how many

        Raises:
            ValueError: never
        """,
    "google, called parameters, a name without words": """Find flights.

        Parameters:
            origin: where from: an airport, or a city
            via: where between
            seats: how many
            rest
        """,
    "numpy": """Find flights.

        Parameters
        ----------
        origin : str
            where from: an airport,
            or a city
        via : {'Rome', 'Oslo'}, optional
            where between
        seats : int, default 1
            how many

        Returns
        -------
        str
            the flights
        """,
    "numpy without types, and others": """Find flights.

        Parameters
        ----------
        origin
            where from: an airport, or a city
        via: list of str
            where between

        Other Parameters
        ----------------
        seats
            how many

        See Also
        --------
        book : Books a flight.
        """,
    "sphinx": """Find flights.

        :param origin: where from: an airport,
            or a city
        :param str via: where between
        :type origin: str
        :parameter seats: how many
        :returns: the flights
        """,
    "epydoc": """Find flights.

        @param origin: where from: an airport, or a city
        @type origin: str
        @param via: where between
        @param seats: how many
        @return: the flights
        """,
}


def find_flights(origin: str, via: str = "", seats: int = 1, rest: str = "") -> str:
    return f"{origin} {via} {seats} {rest}"


@pytest.mark.parametrize("style", STYLES)
def test_docstrings_of_every_style_describe_the_parameters(style: str) -> None:
    find_flights.__doc__ = STYLES[style]
    spec = make(find_flights).spec
    told = {name: each.get("description") for name, each in spec.parameters["properties"].items()}
    assert spec.description == "Find flights."
    assert told == {
        "origin": "where from: an airport, or a city",
        "via": "where between",
        "seats": "how many",
        "rest": None,
    }


@pytest.mark.parametrize(
    ("text", "description"),
    [
        (None, ""),
        ("", ""),
        ("Note: this is all.", "Note: this is all."),
        ("Over two\n    lines.\n\n    And more.", "Over two lines."),
        ("\n    Args:\n        origin: where from\n    ", ""),
        ("Tight.\n    Parameters\n    ----------\n    origin : str\n        from", "Tight."),
        ("Args: see below.\n\n    Parameters\n    ----------\n", "Args: see below."),
        ("Bad.\n\n    Args:\n        nothing of use\n", "Bad."),
    ],
)
def test_the_description_is_the_first_paragraph_without_sections(
    text: str | None, description: str
) -> None:
    find_flights.__doc__ = text
    assert make(find_flights).spec.description == description


def test_a_tool_remains_a_function() -> None:
    assert look_up("Rome", days=2) == "Rome metric 2 None"


def test_left_out_arguments_have_their_defaults() -> None:
    result = look_up.run('{"city": "Rome"}')
    assert (result.content, result.ok) == ("Rome metric 1 None", True)


def test_name_and_description_may_be_given() -> None:
    @tool(name="weather-now", description="Says how it is.")
    def ignored() -> str:
        """Something else."""
        return "sunny"

    assert ignored.spec.parameters == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }
    assert (ignored.name, ignored.description) == ("weather-now", "Says how it is.")


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
def test_a_tool_without_parameters_takes_blank_arguments(arguments: str) -> None:
    assert make(lambda_free).run(arguments).content == "free"


def lambda_free() -> str:
    return "free"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("{}", "The argument 'city' of look_up is missing."),
        ("{nope", "The arguments of look_up are not valid JSON."),
        ("[1]", "The arguments of look_up must be a JSON object."),
        ('"Rome"', "The arguments of look_up must be a JSON object."),
        ("null", "The arguments of look_up must be a JSON object."),
        ('{"city": "Rome", "land": "Italy"}', "look_up has no argument 'land'."),
        (
            '{"city": 5}',
            "The argument 'city' of look_up is wrong: Input should be a valid string.",
        ),
        (
            '{"city": "Rome", "days": "2"}',
            "The argument 'days' of look_up is wrong: Input should be a valid integer.",
        ),
        (
            '{"city": "Rome", "days": 8}',
            "The argument 'days' of look_up is wrong: Input should be less than or equal to 7.",
        ),
        ("{}{}", "The arguments of look_up are not valid JSON."),
    ],
)
def test_wrong_arguments_are_answered_by_one_sentence(arguments: str, sentence: str) -> None:
    result = look_up.run(arguments)
    assert (result.content, result.ok) == (f"Error: {sentence}", False)


def test_very_deep_json_is_a_fault_like_any_other() -> None:
    assert not look_up.run('{"city":' + "[" * 100_000).ok


@given(st.text())
def test_whatever_a_model_writes_as_arguments_a_tool_never_raises(arguments: str) -> None:
    assert look_up.run(arguments).content


@given(st.dictionaries(st.sampled_from(["city", "unit", "days", "note", "x"]), st.integers()))
def test_wrongly_typed_arguments_never_reach_the_function(values: dict[str, int]) -> None:
    import json

    assert look_up.run(json.dumps(values)).ok is False


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (8, "8"),
        (8.0, "8.0"),
        (0.1, "0.1"),
        (True, "true"),
        (None, "null"),
        (float("nan"), '"NaN"'),
        ([1, "zwei"], '[1,"zwei"]'),
        ({"a": {"b": 1}}, '{"a":{"b":1}}'),
        (Point(1, 2), '{"x":1,"y":2}'),
        (Order(title="t"), '{"title":"t","lines":[]}'),
        (date(2026, 11, 23), '"2026-11-23"'),
        (Colour.RED, '"red"'),
        ("half \ud83d", "half \ufffd"),
        ("nul \0", "nul \ufffd"),
    ],
)
def test_a_result_is_text_as_it_is_or_json(value: object, text: str) -> None:
    def give() -> Any:
        return value

    result = make(give).run("{}")
    assert (result.content, result.ok) == (text, True)


def test_a_result_that_is_no_json_is_a_fault() -> None:
    def give() -> object:
        return object()

    assert make(give).run("").content == "Error: give gave a result that is neither text nor JSON."


def test_a_tool_may_tell_the_model_what_went_wrong() -> None:
    def refuse() -> None:
        raise ToolError("The shop is closed.")

    result = make(refuse).run("")
    assert (result.content, result.ok) == ("Error: The shop is closed.", False)


def test_the_text_of_other_exceptions_stays_inside(caplog: pytest.LogCaptureFixture) -> None:
    def leak() -> None:
        raise ValueError("postgresql://admin:hunter2@db")

    with caplog.at_level(logging.INFO):
        result = make(leak).run("")
    assert (result.content, result.ok) == ("Error: leak failed.", False)
    assert "hunter2" not in caplog.text
    assert caplog.records[0].__dict__["tool"] == "leak"


def test_values_of_every_usual_type_arrive_as_that_type() -> None:
    seen: list[object] = []

    def take(order: Order, colour: Colour, points: list[Point], when: date, share: float) -> None:
        seen.extend([order, colour, points, when, share])

    result = make(take).run(
        '{"order": {"title": "t", "lines": [{"x": 1, "y": 2}]}, "colour": "green",'
        ' "points": [{"x": 3, "y": 4}], "when": "2026-11-23", "share": 1}'
    )
    assert result.ok, result.content
    assert seen == [
        Order(title="t", lines=[Point(1, 2)]),
        Colour.GREEN,
        [Point(3, 4)],
        date(2026, 11, 23),
        1.0,
    ]


def test_titles_are_left_out_of_the_schema_but_not_a_property_of_that_name() -> None:
    def file(order: Order) -> None: ...

    schema = make(file).spec.parameters
    assert schema["$defs"]["Order"]["properties"]["title"] == {"type": "string"}
    assert "title" not in schema
    assert "title" not in schema["$defs"]["Order"]


def test_parameters_may_have_any_name() -> None:
    def odd(json: int, copy: int, model_config: int, self_: int, schema: int = 5) -> int:
        return json + copy + model_config + self_ + schema

    result = make(odd).run('{"json": 1, "copy": 2, "model_config": 3, "self_": 4}')
    assert result.content == "15"


def test_a_bound_method_may_be_a_tool() -> None:
    class Shop:
        def price(self, item: str) -> int:
            """Tell a price."""
            return len(item)

    assert Toolkit("shop", [Shop().price]).tools[0].run('{"item": "pen"}').content == "3"


def test_a_decorated_function_keeps_its_description() -> None:
    @tool
    @functools.lru_cache
    def cached(number: int) -> int:
        """Remember."""
        return number

    assert cached.description == "Remember."
    assert cached.run('{"number": 4}').content == "4"


def untyped(value):  # type: ignore[no-untyped-def]
    return value


def unresolved(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def many(*values: int) -> None: ...


def open_ended(**values: int) -> None: ...


def positional(value: int, /) -> None: ...


def schemaless(value: Callable[[], int]) -> None: ...


@pytest.mark.parametrize(
    "function", [untyped, unresolved, many, open_ended, positional, schemaless]
)
def test_a_function_that_no_model_could_call_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match=function.__name__):
        tool(function)


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "naïve"])
def test_a_name_that_no_model_takes_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="tool name"):
        tool(name=name)(lambda_free)


@pytest.mark.parametrize("thing", [5, "add", Point, None])
def test_a_toolkit_takes_functions_only(thing: Any) -> None:
    with pytest.raises(ConfigurationError, match="not a function"):
        Toolkit("own", [thing])


def test_a_toolkit_needs_a_name() -> None:
    with pytest.raises(ConfigurationError, match="needs a name"):
        Toolkit(" ", [])


def test_a_toolkit_takes_functions_and_tools() -> None:
    kit = Toolkit("own", [lambda_free, look_up])
    assert [each.name for each in kit.tools] == ["lambda_free", "look_up"]
    assert kit.tools[1] is look_up


def test_parameters_are_described_in_fields_too() -> None:
    def described(first: int, second: int) -> None:
        """
        :param first: the first
            of two
        :param int second: the other
        :returns: nothing
        """

    properties = make(described).spec.parameters["properties"]
    assert make(described).description == ""
    assert properties["first"]["description"] == "the first of two"
    assert properties["second"]["description"] == "the other"
