"""Gives the first answer again to a request that carries the same Idempotency-Key.

A finished answer is kept in the turn's own transaction. While a turn runs, its key is held for all
processes; should two run the same key at once all the same, because one of them stood still for
longer than its lease, the second one's transaction finds the first one's row and stores nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from webapp.agent import PendingCall
from webapp.chat.values import ChatAnswer, ChatTurn, PausedAnswer, with_pending_calls
from webapp.errors import Conflict, IdempotencyMismatch, InvalidInput
from webapp.memory.kept_answers import store as kept_answers
from webapp.messages import Usage
from webapp.storage import Connection, Database
from webapp.storage.slices import ROWS, in_slices
from webapp.turns.lines import TurnLines

KEPT_MS = 24 * 3600 * 1000
MAX_KEY_CHARS = 255
_NOTHING = nullcontext()


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The key and what came with it, as hashes."""

    user_id: str
    key: str
    body: str

    @property
    def request(self) -> str:
        """One name for all three, which tells none of them."""
        return _digest(json.dumps([self.user_id, self.key, self.body]))


def fingerprint(turn: ChatTurn) -> Fingerprint | None:
    """None when the turn carries no key; `InvalidInput` when the key is not one."""
    key = turn.idempotency_key
    if key is None:
        return None
    # A header has no charset: beyond ASCII the same key could arrive as two.
    if not key or len(key) > MAX_KEY_CHARS or not (key.isascii() and key.isprintable()):
        sentence = f"Idempotency-Key must be 1 to {MAX_KEY_CHARS} printable ASCII characters"
        raise InvalidInput(sentence, fields={"Idempotency-Key": sentence})
    said = [turn.route, turn.session_id, turn.message]
    if turn.wanted is not None:
        said.append(turn.wanted.format.mark)
    if turn.approvals:
        said.append(json.dumps([asdict(each) for each in turn.approvals]))
    body = json.dumps(said)
    return Fingerprint(turn.user_id, _digest(key), _digest(body))


class RunningKeys:
    """The keys whose turns run at the moment, in whichever process."""

    def __init__(self, lines: TurnLines, name_of: Callable[[str], str]) -> None:
        """`name_of` makes the name of a user's line."""
        self._lines = lines
        self._name_of = name_of

    def hold(self, mark: Fingerprint | None) -> AbstractContextManager[None]:
        """Holds the key for the block; `Conflict` when it is held already."""
        return _NOTHING if mark is None else self._held(mark)

    @contextmanager
    def _held(self, mark: Fingerprint) -> Iterator[None]:
        line = self._name_of(mark.user_id)
        worker, body = self._lines.hold_key(line, mark.key, mark.body)
        if not worker:
            require_same_body(mark, body)
            raise Conflict(
                "A request with this Idempotency-Key is still running.",
                code="idempotency_in_progress",
            )
        try:
            yield
        finally:
            self._lines.free_key(line, mark.key, worker)


def first_answer(
    connection: Connection, tenant: int, mark: Fingerprint, turn: ChatTurn, now_ms: int
) -> ChatAnswer | None:
    """The answer that the key got before, within a day; `IdempotencyMismatch` on another body."""
    row = kept_answers.find(connection, tenant, mark.key, now_ms - KEPT_MS)
    if row is None:
        return None
    require_same_body(mark, row[0])
    answer = json.loads(row[1])
    kept = ChatAnswer(
        user_id=turn.user_id,
        reply=answer["reply"],
        session_id=turn.session_id,
        request_id=answer["request_id"],
        usage=Usage(answer["input_tokens"], answer["output_tokens"]),
        # An answer that was kept before these two came has none.
        finish_reason=answer.get("finish_reason", "stop"),
        model=answer.get("model", ""),
    )
    calls = answer.get("pending_calls")
    if calls:
        return with_pending_calls(kept, [PendingCall(**call) for call in calls])
    return kept if turn.wanted is None else kept.formed(json.loads(kept.reply))


def keep(
    connection: Connection, tenant: int, mark: Fingerprint, answer: ChatAnswer, now_ms: int
) -> None:
    """Keeps the answer; `Conflict` when another process kept one for this key meanwhile."""
    said: dict[str, Any] = {
        "reply": answer.reply,
        "request_id": answer.request_id,
        "input_tokens": answer.usage.input_tokens,
        "output_tokens": answer.usage.output_tokens,
        "finish_reason": answer.finish_reason,
        "model": answer.model,
    }
    if isinstance(answer, PausedAnswer):
        said["pending_calls"] = [asdict(call) for call in answer.pending_calls]
    kept = kept_answers.keep(
        connection,
        tenant,
        mark.key,
        body=mark.body,
        session_id=answer.session_id,
        answer=json.dumps(said),
        now_ms=now_ms,
        since_ms=now_ms - KEPT_MS,
    )
    if not kept:
        raise Conflict(
            "A request with this Idempotency-Key was answered meanwhile.",
            code="idempotency_in_progress",
        )


def prune(database: Database, now_ms: int, kept_ms: int = KEPT_MS) -> None:
    """Drops the answers that are past their day, or past `kept_ms`, in small transactions."""

    def step(connection: Connection) -> int:
        return kept_answers.prune(connection, now_ms - kept_ms, ROWS)

    for _ in in_slices(database, step, bool):
        pass


def require_same_body(mark: Fingerprint, body: str) -> None:
    """`IdempotencyMismatch` when the key came with another body before."""
    if body != mark.body:
        raise IdempotencyMismatch("This Idempotency-Key was used with another body before.")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
