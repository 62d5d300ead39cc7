"""Checks the form of a key and a base URL; asks no server."""

from __future__ import annotations

from webapp.errors import ConfigurationError
from webapp.setting_kinds import header_value, model_url


def require_sendable(api_key: str, base_url: str) -> None:
    """Raises `ConfigurationError` with a sentence that names which of the two is wrong."""
    for names, check, text in (
        ("api_key (OPENAI_API_KEY)", header_value, api_key),
        ("base_url (OPENAI_BASE_URL)", model_url, base_url),
    ):
        try:
            check(text)
        except ValueError as error:
            # The fault's own text repeats nothing of the key.
            raise ConfigurationError(f"The model's {names} {error}.") from None
