"""The lines of an export as they are read back, each with what may stand in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from webapp.errors import InvalidInput, InvalidState
from webapp.ids import check_session_id, check_user_id
from webapp.memory.sessions.titles import OPENING_CHARS, check_title
from webapp.memory.summary import MAX_CHARS
from webapp.messages import Role
from webapp.session_state.values import fields_of
from webapp.usage.histogram import LAST_BUCKET, NO_LATENCY
from webapp.usage.windows import Period

_YEAR_10000 = 253_402_300_800  # in seconds since 1970


def _valid(check: Callable[[object], str]) -> AfterValidator:
    def validate(value: str) -> str:
        try:
            return check(value)
        except InvalidInput as error:
            raise ValueError(error.message) from None

    return AfterValidator(validate)


def _check_moment(moment: datetime) -> datetime:
    """In UTC it can fall outside the years that can be written again; none is before 1970."""
    if not 0 <= moment.timestamp() < _YEAR_10000:
        raise ValueError("is no time that can be stored")
    return moment


def _check_state(state: dict[str, Any]) -> dict[str, Any]:
    """As tools and callers may set it; its size is that of where it came from."""
    try:
        fields_of(state)
    except InvalidState as error:
        raise ValueError(error.message) from None
    return state


# JSON has no dates, so even a strict shape must read them from text.
Moment = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_check_moment)]
# Sums of two of them are still whole numbers that every database holds.
Count = Annotated[int, Field(ge=0, lt=2**53)]
Bucket = Annotated[int, Field(ge=NO_LATENCY, le=LAST_BUCKET)]
Word = Annotated[str, Field(max_length=200)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Shape(BaseModel):
    """Unknown fields are left alone: a newer export may say more."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Head(Shape):
    type: Literal["switchboard-tenant"]
    version: int


class Budget(Shape):
    """The tokens used in the newest UTC day (20261123) and month (202611) of use."""

    day: Count = 0
    day_tokens: Count = 0
    month: Count = 0
    month_tokens: Count = 0


class Tenant(Shape):
    user_id: Annotated[str, _valid(check_user_id)]
    created_at: Moment | None = None
    last_active_at: Moment | None = None
    blocked: bool = False
    blocked_at: Moment | None = None
    rate_limit: str | None = None
    token_budget: str | None = None
    request_count: Count = 0
    error_count: Count = 0
    rate_limited_count: Count = 0
    input_tokens: Count = 0
    output_tokens: Count = 0
    p95_ms: Count = 0
    dropped_session_count: Count = 0
    latency_histogram: dict[Annotated[int, Field(strict=False)], Count] = {}
    budget: Budget = Budget()


class RunningSummary(Shape):
    """What was said up to the message with the id `through`."""

    text: str = Field(min_length=1, max_length=MAX_CHARS)
    through: str = Field(min_length=1, max_length=200)
    made_at: Moment


class Session(Shape):
    session_id: Annotated[str, _valid(check_session_id)]
    created_at: Moment | None = None
    last_active_at: Moment | None = None
    state: Annotated[dict[str, Any], AfterValidator(_check_state)] | None = None
    # It goes on being counted up from here.
    state_version: Count = 0
    title: Annotated[str, _valid(check_title)] | None = None
    opening: str | None = Field(default=None, max_length=OPENING_CHARS)
    summary: RunningSummary | None = None
    turn_count: Count = 0
    input_tokens: Count = 0
    output_tokens: Count = 0


class Function(Shape):
    name: Word
    arguments: str


class Call(Shape):
    id: Word
    function: Function


class StoredMessage(Shape):
    id: str = Field(min_length=1, max_length=200)
    role: Role
    content: str
    created_at: Moment
    session_id: Annotated[str, _valid(check_session_id)]
    tool_calls: list[Call] = []
    tool_call_id: Word | None = None


class Note(Shape):
    number: Annotated[int, Field(ge=1, lt=2**53)] | None = None
    content: str = Field(min_length=1)
    created_at: Moment


class Run(Shape):
    """A run of a workflow; what is JSON may be missing, which is not null."""

    run_id: Name
    session_id: Annotated[str, _valid(check_session_id)]
    workflow: Word
    digest: Word
    status: Literal["running", "completed", "failed", "cancelled"]
    input: Any = None
    output: Any = None
    state: Any = None
    error: str = ""
    code: Word = ""
    created_at: Moment
    updated_at: Moment
    request_id: Word = ""


class Step(Shape):
    """A line of a run's journal."""

    run_id: Name
    path: str = Field(max_length=10_000)
    attempt: Count
    name: Word
    kind: Word
    status: Word
    input_hash: Word
    output: Any = None
    changes: Any = None
    visible: bool
    started_at: Moment
    duration_ms: Count
    input_tokens: Count = 0
    output_tokens: Count = 0
    error: str = ""
    code: Word = ""


class Request(Shape):
    at: Moment
    route: Word
    status: int = Field(ge=100, le=599)
    code: Word = ""
    latency_ms: Count
    first_token_ms: Count | None = None
    input_tokens: Count = 0
    output_tokens: Count = 0
    request_id: Word = ""


class Figures(Shape):
    requests: Count
    errors: Count
    rate_limited: Count
    input_tokens: Count
    output_tokens: Count


class DayOfUsage(Figures):
    """Usage as version 1 of an export has it: the sums of a day, without latencies."""

    day: Annotated[date, Field(strict=False)]


class Usage(Figures):
    period: Period
    at: Moment
    measure: Literal["request", "first_token"]
    code: Word
    bucket: Bucket


class End(Shape):
    sessions: int
    messages: int
    requests: int | None = None
    usages: int | None = None
    notes: int | None = None
    workflow_runs: int | None = None
    workflow_steps: int | None = None
