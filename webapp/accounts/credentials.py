"""Finds who sent a request from its `Authorization` header; refusing anybody is not done here."""

from __future__ import annotations

from webapp.accounts.key import SCHEME
from webapp.accounts.keys import Keys
from webapp.accounts.principal import Principal
from webapp.accounts.tokens import Tokens


class Credentials:
    """Keys and tokens behind one door."""

    def __init__(self, keys: Keys, tokens: Tokens) -> None:
        self._keys = keys
        self._tokens = tokens

    def find(self, authorization: str | None) -> Principal | None:
        """Who holds `Bearer …`; None without a header, and for one that is not known."""
        scheme, _, presented = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not presented:
            return None
        if presented.startswith(f"{SCHEME}_"):
            return self._keys.verify(presented)
        return self._tokens.verify(presented)
