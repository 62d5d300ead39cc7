"""POST /chat from the terminal, streamed, and why it failed in words that help; no output."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from webapp.errors import ConfigurationError, SwitchboardError

TIMEOUT_SECONDS = 600.0
TRUST = (
    "If you know it to be the right server, trust its certificate with --cacert FILE or the"
    " variable SSL_CERT_FILE"
)


class ChatClient:
    """One server and one credential."""

    def __init__(self, url: str, key: str | None, *, cacert: Path | None = None) -> None:
        """Raises `ConfigurationError` for a URL or a file of certificates that is none."""
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts, self._host, self._port = urlsplit(""), "", None
        if parts.scheme not in ("http", "https") or not self._host or not url.isprintable():
            raise ConfigurationError("The URL must look like http://127.0.0.1:8080.")
        self._tls = _tls(cacert) if parts.scheme == "https" else None
        self._path = f"{parts.path.rstrip('/')}/chat"
        # Without a name and a password, which may stand in front of the host.
        self.place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def events(self, body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """The events of one turn; a refusal is an `error` event too. `SwitchboardError` when the
        server cannot be reached. Leaving it half way closes the connection."""
        connection = self._connection()
        try:
            payload = json.dumps(body).encode()
            connection.request("POST", self._path, payload, self._headers)
            response = connection.getresponse()
            if response.status != 200:
                yield "error", {"error": _refusal(response)}
                return
            yield from _read(response)
        except (OSError, http.client.HTTPException) as error:
            raise SwitchboardError(self._why(error)) from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._tls
        )

    def _why(self, error: Exception) -> str:
        match error:
            case ssl.SSLCertVerificationError():
                return self._distrust(error)
            case ssl.SSLError():
                return f"{self.place} does not speak TLS as https needs it; is it meant to be http?"
            case socket.gaierror():
                return f"{self.place} cannot be reached: the name of the host is not known."
            case TimeoutError():
                return f"{self.place} did not answer in time."
            case ConnectionRefusedError():
                return f"{self.place} cannot be reached; is Switchboard running there?"
            case http.client.HTTPException() | ConnectionResetError() | BrokenPipeError():
                return (
                    f"{self.place} broke the connection off or does not speak HTTP;"
                    " is it meant to be https, or another port?"
                )
        reason = getattr(error, "strerror", None)
        return f"{self.place} cannot be reached{f' ({reason})' if reason else ''}."

    def _distrust(self, error: ssl.SSLCertVerificationError) -> str:
        match error.verify_code:  # OpenSSL's numbers, from its x509_vfy.h
            case 10:
                return f"The certificate of {self.place} has expired; the server needs a new one."
            case 9:
                return f"The certificate of {self.place} is not valid yet; are both clocks right?"
            case 62 | 64:
                return (
                    f"The certificate of {self.place} is for another host's name;"
                    " use the name that it was made for."
                )
            case 18 | 19:
                kind = "is self-signed and therefore not trusted"
            case _:
                kind = "is not trusted: none of the known authorities has signed it"
        return f"The certificate of {self.place} {kind}. {TRUST}."


def _tls(cacert: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if cacert is None else str(cacert))
    except (OSError, ValueError) as error:
        reason = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else None
        reason = reason or getattr(error, "strerror", None) or "it cannot be read"
        raise ConfigurationError(f"{cacert} cannot be used for --cacert: {reason}.") from None


def _read(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    name = ""
    for raw in response:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            try:
                data = json.loads(line.removeprefix("data: "))
            except ValueError:
                data = None
            if not isinstance(data, dict):
                raise http.client.UnknownProtocol("no event of Switchboard")
            yield name, data


def _refusal(response: http.client.HTTPResponse) -> str:
    try:
        sentence = str(json.loads(response.read(65536))["error"])
    except (ValueError, KeyError, TypeError):
        sentence = f"The server answered {response.status}; is it Switchboard?"
    if response.status == 401:
        sentence += " Give a key with --key-file or SWITCHBOARD_API_KEY."
    return sentence
