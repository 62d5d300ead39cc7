"""Which schemas are sent as strict ones."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from webapp.agent.structured.python_types import wanted_type


class Inner(BaseModel):
    """What is inside."""

    day: date
    kind: Literal["a", "b"] | None


class Outer(BaseModel):
    title: str  # a field may have the name of one of JSON Schema's words
    inner: Inner
    many: list[Inner]


class WithDefault(BaseModel):
    name: str = "x"


class WithPattern(BaseModel):
    name: Annotated[str, Field(pattern="^a")]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Described(BaseModel):
    inner: Annotated[Inner, Field(description="beside a reference")]


@pytest.mark.parametrize(
    ("kind", "strict"),
    [
        (Inner, True),
        (Outer, True),
        (list[Inner], True),
        (WithDefault, False),
        (WithPattern, False),
        (Open, False),
        (Described, False),
        (dict[str, int], False),
        (tuple[int, str], False),
    ],
)
def test_a_schema_is_strict_when_openais_api_would_take_it(kind: Any, strict: bool) -> None:
    wanted = wanted_type(kind)
    assert wanted is not None
    assert wanted.format.strict is strict


def test_titles_go_and_fields_of_that_name_stay() -> None:
    wanted = wanted_type(Outer)
    assert wanted is not None
    assert wanted.format.schema is not None
    assert wanted.format.schema["properties"]["title"] == {"type": "string"}
    assert "title" not in wanted.format.schema
    assert wanted.format.schema["$defs"]["Inner"]["additionalProperties"] is False
