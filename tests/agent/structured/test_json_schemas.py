"""JSON Schemas as the form of an answer: what may be one, and that checking is bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webapp.agent.structured.json_schemas import BadSchema, any_object, wanted_schema
from webapp.agent.structured.patterns import Pattern
from webapp.agent.structured.wanted import Unfit

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "below": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "objekt"}, "no valid JSON Schema at type"),
        ({"properties": []}, "no valid JSON Schema at properties"),
        ({"properties": {"a": {"minimum": "1"}}}, r"at properties\.a\.minimum"),
        ({"$ref": "https://example.com/s.json"}, "another document"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "another document"),
        ({"$ref": "#/$defs/none"}, "does not hold"),
        ({"$ref": "#none"}, "does not hold"),
        ({"$ref": "#"}, "leads back to itself"),
        (
            {
                "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}},
                "items": {"$ref": "#/$defs/a"},
            },
            "leads back to itself",
        ),
        (
            {
                "$defs": {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(120)}
                | {"a120": {}},
                "$ref": "#/$defs/a0",
            },
            "too long",
        ),
        ({"properties": {"a": {"$id": "https://example.com/a"}}}, "below its root"),
        ({"$schema": "https://example.com/my-draft"}, "names no draft"),
        ({"$schema": 7}, "names no draft"),
        ({"unevaluatedProperties": False}, "not supported"),
        ({"$dynamicRef": "#a"}, "not supported"),
        ({"pattern": "(a"}, "not a regular expression"),
        ({"pattern": "^(?=a)"}, "looking ahead"),
        ({"pattern": "((a{99}){99}){99}"}, "more than 2000 times"),
        ({"pattern": "a" * 501}, "longer than 500"),
        ({"patternProperties": {"[": {}}}, "not a regular expression"),
        ({"anyOf": [{"pattern": f"a{i}"} for i in range(51)]}, "more than 50 patterns"),
        ({"anyOf": [{"pattern": f"\\p{{L}}{{50}}{i}"} for i in range(13)]}, "too large in all"),
        ({"pattern": r"[\p{L}]{190}"}, "Unicode properties or large classes too often"),
        ({"anyOf": [{"pattern": f"a{i}.{{0,1900}}"} for i in range(17)]}, "too large in all"),
        ({"pattern": "(?x) a {40}"}, "the flag x"),
        (nested(40), "deeper than 32"),
        ({"enum": ["x" * 100] * 400}, "larger than 32 KiB"),
        ({"minimum": float("nan")}, "not JSON"),
    ],
)
def test_what_may_not_be_the_form_of_an_answer(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadSchema, match=reason):
        wanted_schema(schema)


@pytest.mark.parametrize(
    "draft",
    [
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema#",
        "http://json-schema.org/draft-04/schema#",
    ],
)
def test_a_schema_of_each_draft_that_names_itself(draft: str) -> None:
    own_name = "id" if "draft-04" in draft else "$id"
    schema = {
        "$schema": draft,
        own_name: "https://example.com/mine",
        "definitions": {"a": {"type": "string"}},
        "properties": {"a": {"$ref": "#/definitions/a"}},
    }
    wanted = wanted_schema(schema)
    assert wanted.read('{"a": "b"}').parsed == {"a": "b"}
    with pytest.raises(Unfit, match="a: 1 is not of type 'string'"):
        wanted.read('{"a": 1}')


def test_a_tree() -> None:
    wanted = wanted_schema(TREE)
    assert wanted.read('{"value": 1, "below": [{"value": 2}]}').parsed["below"] == [{"value": 2}]
    with pytest.raises(Unfit, match=r"below\.0\.value: '2' is not of type 'integer'"):
        wanted.read('{"value": 1, "below": [{"value": "2"}]}')
    with pytest.raises(Unfit, match="it may not have more"):
        wanted.read('{"value": 1, "more": 2}')


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"pattern": r"^\d{4}-\d{2}$"}, '"2026-11"', '"٢٠٢٦-١١"'),
        ({"pattern": "b"}, '"abc"', '"ac"'),
        (
            {"patternProperties": {"^x_": {"type": "string"}}, "additionalProperties": False},
            '{"x_a": "b"}',
            '{"y": "b"}',
        ),
        ({"patternProperties": {"^x_": {"type": "string"}}}, '{"y": 1}', '{"x_a": 1}'),
        ({"additionalProperties": {"type": "string"}}, '{"a": "b"}', '{"a": 1}'),
        ({"uniqueItems": True}, '[1, true, "1", {"a": [1]}]', '[{"a": 1}, {"a": 1.0}]'),
        ({"enum": ["a", 1]}, '"a"', "true"),
        ({"const": {"a": 1}}, '{"a": 1}', "[]"),
    ],
)
def test_our_own_keywords_mean_what_the_standard_says(
    schema: dict[str, Any], good: str, bad: str
) -> None:
    wanted = wanted_schema(schema)
    assert wanted.read(good).parsed == json.loads(good)
    with pytest.raises(Unfit):
        wanted.read(bad)


def doubling(levels: int) -> dict[str, Any]:
    """Each level looks at the value twice: a schema of some lines with 2 ** levels steps."""
    below = [{"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(levels)]
    names = {f"a{i}": each for i, each in enumerate(below)} | {f"a{levels}": {}}
    return {"$defs": names, "$ref": "#/$defs/a0"}


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (doubling(25), "{}"),
        (
            {
                "$defs": {
                    "n": {
                        "properties": {
                            "c": {"anyOf": [{"allOf": [{"$ref": "#/$defs/n"}, False]},
                                            {"$ref": "#/$defs/n"}]}
                        }
                    }
                },
                "$ref": "#/$defs/n",
            },
            '{"c":' * 60 + "{}" + "}" * 60,
        ),
        ({"items": {"pattern": "(a{40}){40}$"}}, json.dumps(["a" * 30_000] * 5)),
    ],
)  # fmt: skip
def test_checking_is_bounded_whatever_the_schema(schema: dict[str, Any], answer: str) -> None:
    with pytest.raises(Unfit, match="too large") as raised:
        wanted_schema(schema).read(answer)
    assert raised.value.for_good  # so the model is not asked again


@pytest.mark.parametrize(
    ("pattern", "cost"),
    [
        (r"abc.\d", 5),
        (r"\p{L}{40}", 2000),
        (r"\pN{40}", 2000),
        (r"\P{ Lu }{ 2 , 40 }", 2000),
        (r"\p{L}{0,}{40}", 2000),
        (r"(?:a\p{L}+){30}", 1530),
        (r"(?i:abc){2}(?P<x>abc){2}(?<x2>abc){2}(abc){2}", 24),
        (r"[^\p{L}\p{N}]{40}", 2006),
        (r"[a[]\p{L}]]{40}", 2003),
        (r"[]\]\p{L}]{40}", 2003),
        (r"[-]\p{L}", 51),
        (r"(?i)[\pL\pN]", 100),
        (r"[\\pL]{40}", 40),
        ("(?i)[é-ü]", 675),
        (r"\x{e4}{40}", 40),
    ],
)
def test_a_pattern_costs_what_its_engine_takes(pattern: str, cost: int) -> None:
    made = Pattern(pattern)
    made.make()  # so it is one that the engine knows
    assert made.cost == cost


def test_names_in_any_language_are_cheap_enough() -> None:
    name = {"type": "string", "pattern": r"^[\p{L}\p{M} .'-]{1,50}$"}
    wanted = wanted_schema({"properties": {"first": name, "last": name}})
    assert wanted.read('{"first": "Zoë", "last": "Łukasz"}').parsed
    with pytest.raises(Unfit, match="does not match"):
        wanted.read('{"first": "7"}')


def test_making_the_patterns_is_part_of_the_work() -> None:
    schema = {"anyOf": [{"pattern": f"x{i}_.{{0,900}}$"} for i in range(30)]}
    assert wanted_schema(schema).read('"x29_"').parsed == "x29_"
    wide = {"prefixItems": [schema, {"items": {"type": "string"}}]}
    with pytest.raises(Unfit, match="too large"):
        wanted_schema(wide).read(json.dumps(["x29_", ["x"] * 24_000]))


def test_a_pattern_that_runs_away_elsewhere_does_not_here() -> None:
    wanted = wanted_schema({"pattern": "^(a+)+$"})
    with pytest.raises(Unfit, match="does not match"):
        wanted.read(json.dumps("a" * 10_000 + "!"))


def test_large_answers_are_checked() -> None:
    items = [{"n": number, "name": "x"} for number in range(3000)]
    schema = {"items": {"properties": {"n": {"type": "integer"}, "name": {"type": "string"}}}}
    assert len(wanted_schema(schema).read(json.dumps(items)).parsed) == 3000


def test_any_object() -> None:
    assert any_object().read('{"a": 1}').parsed == {"a": 1}
    for text in ("[]", "1", "null", "words"):
        with pytest.raises(Unfit):
            any_object().read(text)
