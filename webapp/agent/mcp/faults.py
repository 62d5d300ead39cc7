"""What can be wrong with a server, in words of ours."""

from __future__ import annotations

from dataclasses import dataclass


class Fault(Exception):
    """The server cannot be used; the text is the end of a sentence that begins with its name."""


class Unreachable(Fault):
    """Nothing was heard of the server: it is not worth asking it further."""


@dataclass(frozen=True, slots=True)
class Away:
    """There is no connection, and why; `lost` when there was one until now."""

    fault: Fault
    lost: bool
