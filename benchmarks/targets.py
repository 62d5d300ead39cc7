"""How each server is asked for a turn and how its answer is checked; no sockets here."""

import json
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Check = Callable[[bytes], bool]


class Target(Protocol):
    """One server's way of being asked for a turn."""

    def request(self, user: str, message: str) -> bytes:
        """Return the whole HTTP request of one turn."""
        ...

    def answered(self, body: bytes) -> bool:
        """Tell whether the body of a 200 is the answer of a turn that went well."""
        ...


@dataclass(frozen=True, slots=True)
class ChatTarget:
    """Switchboard's `POST /chat`, which the bare Flask peer speaks too."""

    host: str
    stream: bool = False
    path: str = "/chat"
    key: str = ""

    def request(self, user: str, message: str) -> bytes:
        """Return the request as JSON, with the key where there is one."""
        asked: dict[str, object] = {"user_id": user, "message": message}
        if self.stream:
            asked["stream"] = True
        body = json.dumps(asked).encode()
        return _post(self.host, self.path, "application/json", body, self.key)

    def answered(self, body: bytes) -> bool:
        """Want a reply that is not empty, or a stream that ends in `done` with one."""
        if not self.stream:
            return _has_text(body, "reply")
        last = body.rstrip().rpartition(b"\n\n")[2]
        if b"event: done" not in last or b"\nevent: error" in body:
            return False
        return _has_text(last.partition(b"data: ")[2], "reply")


@dataclass(frozen=True, slots=True)
class AgnoTarget:
    """agno's AgentOS; a user's session carries the user's name, so its memory is the user's."""

    host: str
    stream: bool = False
    agent: str = "peer"

    def request(self, user: str, message: str) -> bytes:
        """Return the request as a form, which the server reads faster than multipart."""
        form = {
            "message": message,
            "stream": "true" if self.stream else "false",
            "session_id": f"session-{user}",
            "user_id": user,
        }
        body = urllib.parse.urlencode(form).encode()
        path = f"/agents/{self.agent}/runs"
        return _post(self.host, path, "application/x-www-form-urlencoded", body)

    def answered(self, body: bytes) -> bool:
        """Want a completed run with content."""
        if self.stream:
            return b"event: RunCompleted" in body and b"event: RunError" not in body
        return b'"COMPLETED"' in body and _has_text(body, "content")


@dataclass(frozen=True, slots=True)
class UpstreamTarget:
    """The upstream stub itself, asked as a server would ask it: the ceiling of a measurement."""

    host: str
    stream: bool = False
    path: str = "/v1/chat/completions"

    def request(self, user: str, message: str) -> bytes:
        """Return a chat completion's request."""
        asked = {
            "model": "stub",
            "user": user,
            "stream": self.stream,
            "messages": [{"role": "user", "content": message}],
        }
        body = json.dumps(asked, separators=(",", ":")).encode()
        return _post(self.host, self.path, "application/json", body)

    def answered(self, body: bytes) -> bool:
        """Want a finished choice."""
        if self.stream:
            return body.endswith(b"data: [DONE]\n\n")
        return b'"finish_reason":"stop"' in body


def _has_text(body: bytes, field: str) -> bool:
    try:
        value = json.loads(body)
    except ValueError:
        return False
    if not isinstance(value, dict):
        return False
    text = value.get(field)
    return isinstance(text, str) and text.strip() != ""


def _post(host: str, path: str, content_type: str, body: bytes, key: str = "") -> bytes:
    credential = f"Authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n{credential}"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
