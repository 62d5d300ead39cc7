"""Every deliberate failure of Switchboard, as one tree; the bodies of answers are not here.

    SwitchboardError
    ├── ConfigurationError        a setting is missing or wrong: the start is refused
    ├── InvalidInput              what the caller sent cannot be used; names the fields
    │   ├── UnknownHost           the Host header names a host that is not this server's
    │   ├── MessageTooLong        one message alone does not fit the model's context window
    │   ├── InvalidState          a session's state cannot hold that
    │   │   └── StateTooLarge     … because it would be larger than it may be
    │   └── GuardrailRefused      a guardrail said no to the input or to the answer
    ├── TooManyFields             a body has more fields than any request needs
    ├── UnsupportedMediaType      a body is of a type that the address does not take
    ├── Unauthenticated           no credential, or one that is not known
    ├── Forbidden                 a credential that may not do this
    │   ├── TenantBlocked         the tenant is blocked
    │   ├── ForeignForm           another site sent the console's form
    │   └── StaleForm             the form's token is missing, forged, or of a session that is over
    ├── NotFound                  there is no such thing for this caller
    │   └── ApprovalNotFound      no call of this session waits for the approval
    ├── ApprovalRequired          a tool needs a person's approval where nobody can be asked
    ├── Conflict                  the thing changed, or is being done already
    │   ├── StateConflict         another has changed the session's state meanwhile
    │   ├── TooManySessions       the user has as many sessions of a state alone as one may
    │   ├── TurnUnderWay          a turn asked for a turn of its own user: it would wait for itself
    │   ├── RunUnderWay           another process runs this run of a workflow, or it is complete
    │   └── WorkflowChanged       the workflow is not the one that the run began with
    ├── IdempotencyMismatch       the same Idempotency-Key came with another body
    ├── Refused                   a limit said no; says when to try again
    │   ├── RateLimited           too many requests in the window
    │   ├── TenantBusy            too many turns of this tenant are waiting
    │   ├── QuotaExhausted        the token budget is used up
    │   ├── ServerBusy            too many turns of all tenants run and wait
    │   ├── ServerStopping        the process ends before the turn does
    │   ├── ModelUnavailable      the model's server is ill, so it is not asked for now
    │   └── PlaceLost             the turn's place went to another turn before it could store
    ├── ClientGone                the caller hung up before the answer was complete
    ├── ModelError                the model failed, or answered what cannot be used
    │   ├── ModelTimeout          the model did not answer in time
    │   ├── ContextOverflow       the model says the conversation is too long for it
    │   ├── AnswerInvalid         no answer was of the form that was asked for
    │   └── LoopLimitExceeded     the model went on calling tools past the limit
    ├── GuardrailFailed           a guardrail could not say whether a text may pass
    ├── StepFailed                a step of a workflow failed; says which, and why
    ├── RunInterrupted            a run whose process ended again and again is not taken up any more
    ├── StepUnavailable           too many calls of a step's function hang, so it is not called
    ├── StepTimeout               a step of a workflow did not come to its end in time
    └── StorageUnavailable        the database is locked, full, corrupt or away
        └── SchemaOutOfDate       the database needs `switchboard db upgrade`
            └── SchemaTooNew      a newer version made the database: this one cannot write it

The text of an error is a sentence for the client. It never holds a provider's message, SQL, a key
or a user's words; what an operator needs to know is chained as the cause and logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal


class SwitchboardError(Exception):
    """A failure that was foreseen: `code` is its stable name, `status` the HTTP status it means."""

    code = "internal_error"
    status = 500

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class ConfigurationError(SwitchboardError):
    """A setting is missing or wrong."""

    code = "configuration_error"


class InvalidInput(SwitchboardError):
    """The caller's input cannot be used; `fields` maps a field's name to a sentence."""

    code = "invalid_input"
    status = 400

    def __init__(
        self, message: str, *, fields: Mapping[str, str] | None = None, code: str | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.fields: dict[str, str] = dict(fields or {})


class UnknownHost(InvalidInput):
    """The Host header names a host that this server does not answer for."""

    code = "unknown_host"
    status = 421


class MessageTooLong(InvalidInput):
    """One message alone is longer than the model's context window."""

    code = "message_too_long"
    status = 413


class GuardrailRefused(InvalidInput):
    """A guardrail refused; `guardrail` is its name.

    A check may raise it instead of giving its sentence, and need not name its guardrail then.
    """

    code = "guardrail_refused"

    def __init__(self, message: str, *, guardrail: str = "") -> None:
        super().__init__(message)
        self.guardrail = guardrail


class InvalidState(InvalidInput):
    """A value that a session's state cannot hold."""

    code = "invalid_state"


class StateTooLarge(InvalidState):
    """The session's state would be larger than the setting allows."""

    code = "state_too_large"
    status = 413


class TooManyFields(SwitchboardError):
    """The body has more fields than any request needs."""

    code = "too_many_fields"
    status = 413


class UnsupportedMediaType(SwitchboardError):
    """The body is of another media type than this address takes."""

    code = "unsupported_media_type"
    status = 415


class Unauthenticated(SwitchboardError):
    """There is no credential, or it is not known."""

    code = "unauthenticated"
    status = 401


class Forbidden(SwitchboardError):
    """The credential is known and may not do this."""

    code = "forbidden"
    status = 403


class TenantBlocked(Forbidden):
    """An operator has blocked this tenant."""

    code = "tenant_blocked"


class ForeignForm(Forbidden):
    """Another site made the browser send the console's form, or open a page that is audited."""

    code = "foreign_origin"


class StaleForm(Forbidden):
    """The form's token is missing, forged, or of a session that is over."""

    code = "stale_form"


class NotFound(SwitchboardError):
    """There is no such thing, or it is not this caller's."""

    code = "not_found"
    status = 404


class ApprovalNotFound(NotFound):
    """No call of this session waits for the approval."""

    code = "approval_not_found"


class ApprovalRequired(SwitchboardError):
    """A tool needs a person's approval where nobody can be asked."""

    code = "approval_required"
    status = 409


class Conflict(SwitchboardError):
    """The thing changed meanwhile, or the same request is still running."""

    code = "conflict"
    status = 409


class StateConflict(Conflict):
    """Another has changed the session's state since it was read."""

    code = "state_conflict"


class TooManySessions(Conflict):
    """The user has as many sessions with a state and no message as one may have."""

    code = "too_many_sessions"


class TurnUnderWay(Conflict):
    """A turn was asked for from inside a turn of the same user, and would wait for it for ever."""

    code = "turn_under_way"


class RunUnderWay(Conflict):
    """The run of a workflow is another process's at the moment, or has come to its end."""

    code = "run_under_way"


class WorkflowChanged(Conflict):
    """The definition of a workflow is not the one that the run began with."""

    code = "workflow_changed"


class IdempotencyMismatch(SwitchboardError):
    """An Idempotency-Key was used again with another body."""

    code = "idempotency_mismatch"
    status = 422


class Refused(SwitchboardError):
    """A limit refused the request; `retry_after` is in whole seconds, at least 1."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, *, retry_after: int = 1, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = max(1, retry_after)


class RateLimited(Refused):
    """Too many requests in the window."""

    code = "rate_limited"


class TenantBusy(Refused):
    """Too many turns of this tenant are waiting already."""

    code = "tenant_busy"


class QuotaExhausted(Refused):
    """The tenant's token budget for the day or the month is used up."""

    code = "insufficient_quota"


class ServerBusy(Refused):
    """As many turns run and wait in this process as may; none of the tenant's doing."""

    code = "server_busy"
    status = 503


class ServerStopping(Refused):
    """The process was told to stop, and this turn was not done in time; nothing was stored."""

    code = "server_stopping"
    status = 503


class PlaceLost(Refused):
    """The turn's place in its tenant's line is another's by now; nothing was stored."""

    code = "place_lost"
    status = 503


class ModelUnavailable(Refused):
    """The model's server has failed again and again, so turns are refused at once for a while."""

    code = "model_unavailable"
    status = 503


class ClientGone(SwitchboardError):
    """The caller hung up before the answer was complete; nothing was stored."""

    code = "client_closed_request"
    status = 499  # what nginx writes in its log for it; nobody is there to read it


class ModelError(SwitchboardError):
    """The model's server failed, or answered what cannot be used.

    `server_failed` says that the server itself is at fault, whoever asks it whatever: it cannot be
    reached, is overloaded, breaks off. `retry_after` is how many seconds it asked to be left alone.
    """

    code = "model_error"
    status = 502

    def __init__(
        self, message: str, *, server_failed: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.server_failed = server_failed
        self.retry_after = retry_after


class ModelTimeout(ModelError):
    """The model did not answer within the time that is set."""

    code = "model_timeout"
    status = 504

    def __init__(self, message: str, *, server_failed: bool = True) -> None:
        super().__init__(message, server_failed=server_failed)


class ContextOverflow(ModelError):
    """The conversation is longer than the model's context window.

    Not `certain` when the server refused it without a word: fewer messages may help then.
    """

    code = "model_error"

    def __init__(self, message: str, *, certain: bool = True) -> None:
        super().__init__(message)
        self.certain = certain


class AnswerInvalid(ModelError):
    """The model gave no answer of the form that was asked for; nothing was stored.

    `reason` says why it was not asked again: it was asked often enough (`invalid`), its answer was
    cut off or filtered, or it refused. `answer` is its last one, and `fault` what is wrong with it:
    for programs, because both may have a user's words in them.
    """

    code = "invalid_answer"

    def __init__(
        self,
        message: str,
        *,
        reason: Literal["invalid", "cut_off", "filtered", "refused"] = "invalid",
        answer: str = "",
        fault: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.answer = answer
        self.fault = fault


class LoopLimitExceeded(ModelError):
    """The model asked for tools once more than `max_loops` allows."""

    code = "model_error"


class GuardrailFailed(SwitchboardError):
    """A guardrail raised, or gave what is no verdict, so that nothing may pass it; `guardrail` is
    its name."""

    code = "guardrail_failed"

    def __init__(self, *, guardrail: str) -> None:
        super().__init__("A check of this turn failed, so it was not answered.")
        self.guardrail = guardrail


class StepFailed(SwitchboardError):
    """A step of a workflow failed: `path` says which; `code` and `status` are the cause's."""

    code = "step_failed"

    def __init__(
        self, message: str, *, path: str, run_id: str, code: str | None = None, status: int = 500
    ) -> None:
        super().__init__(message, code=code)
        self.path = path
        self.run_id = run_id
        self.status = status


class RunInterrupted(SwitchboardError):
    """The run's process ended again and again without a further step, so it is over."""

    code = "interrupted"


class StepUnavailable(SwitchboardError):
    """Too many calls of a step's function hang; it is not called again before some have ended."""

    code = "step_unavailable"
    status = 503


class StepTimeout(SwitchboardError):
    """A step of a workflow did not come to its end in time."""

    code = "step_timeout"
    status = 504


class StorageUnavailable(SwitchboardError):
    """The database is locked, full, corrupt or away; nothing was stored.

    `part` says which: `locked`, `full`, `read_only`, `damaged`, `stalled`, `foreign` (the file is
    not ours, or the log beside it not the file's), `schema`, `unfinished` (a copy into it was
    interrupted), or `unavailable`.
    """

    code = "storage_unavailable"
    status = 503

    def __init__(self, message: str, *, code: str | None = None, part: str = "unavailable") -> None:
        super().__init__(message, code=code)
        self.part = part


class SchemaOutOfDate(StorageUnavailable):
    """The database's schema is not the one that this version needs."""

    code = "schema_out_of_date"

    def __init__(self, message: str) -> None:
        super().__init__(message, part="schema")


class SchemaTooNew(SchemaOutOfDate):
    """The database belongs to a newer version, which alone knows how to write it."""

    code = "schema_too_new"
