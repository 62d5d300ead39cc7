"""Binds the console's forms and queries to declared shapes; other fields are ignored."""

from __future__ import annotations

from typing import TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, ValidationError

from webapp.errors import InvalidInput
from webapp.web.binding import invalid

MAX_SELECTED = 200


class FormShape(BaseModel):
    """A form or a query: texts, of which some are converted. Unknown fields are ignored: a form
    has its token as well, and other programs add fields to links."""

    model_config = ConfigDict(extra="ignore", frozen=True)


BoundForm = TypeVar("BoundForm", bound=FormShape)


def bind_form(shape: type[BoundForm]) -> BoundForm:
    """The request's form as a `shape`; raises `InvalidInput` with the fields' sentences."""
    return _bind(shape, request.form.to_dict())


def bind_page(shape: type[BoundForm]) -> BoundForm:
    """The query string likewise; an empty value is one that was not given."""
    return _bind(shape, {name: value for name, value in request.args.items() if value})


def selected_users() -> list[str]:
    """The tenants that were ticked, each once, in their order."""
    chosen = list(dict.fromkeys(request.form.getlist("user_id")))
    if not chosen:
        raise InvalidInput("No tenant was selected; tick some and try again.", code="none_selected")
    if len(chosen) > MAX_SELECTED:
        sentence = f"Select {MAX_SELECTED} tenants at most at once."
        raise InvalidInput(sentence, fields={"user_id": sentence}, code="too_many_selected")
    return chosen


def _bind(shape: type[BoundForm], values: dict[str, str]) -> BoundForm:
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from None
