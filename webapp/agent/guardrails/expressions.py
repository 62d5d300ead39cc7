"""Regular expressions whose time grows with the text alone, by Google's RE2.

Python's own may take years over a few letters, and while they do no other turn of the process goes
on. RE2 has no look-around and no back-references, which are what costs that.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from webapp.errors import ConfigurationError

LONGEST = 10_000
MEMORY_BYTES = 8 * 1024 * 1024


@lru_cache(maxsize=4096)
def compiled(pattern: str, *, any_case: bool = False) -> Any:
    """The expression; `ConfigurationError` when RE2 cannot take it."""
    # Imported here because nobody without such a guardrail needs it.
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY_BYTES
    options.case_sensitive = not any_case
    if not pattern.strip() or len(pattern) > LONGEST:
        raise ConfigurationError(
            f"A regular expression must not be blank, nor longer than {LONGEST:,} characters."
        )
    try:
        made = re2.compile(pattern, options=options)
    except re2.error as fault:
        raise ConfigurationError(
            f"RE2 cannot read the regular expression {pattern[:100]!r} ({_words(fault)}); it has"
            " no look-around and no back-references."
        ) from None
    if made.search("") is not None:
        raise ConfigurationError(
            f"The regular expression {pattern[:100]!r} matches the empty text, and so every text."
        )
    return made


def _words(fault: Exception) -> str:
    said = fault.args[0] if fault.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
