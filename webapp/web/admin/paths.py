"""Where the console stands, and which addresses are its own."""

from __future__ import annotations

PREFIX = "/admin"
SIGN_IN_PATH = f"{PREFIX}/login"


def is_own_path(path: str) -> bool:
    """Whether the path is an address of this console and of no other host."""
    return (
        path.startswith(f"{PREFIX}/")
        and "\\" not in path
        and "//" not in path.partition("?")[0]
        and path.isprintable()
    )
