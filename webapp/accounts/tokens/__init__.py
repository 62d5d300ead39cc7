"""Signed tokens for one user each, our own and an identity provider's."""

from webapp.accounts.tokens.tokens import IssuedToken, Tokens

__all__ = ["IssuedToken", "Tokens"]
