"""Toolkits whose tools come and go, such as those of MCP servers: what an agent is offered of them.

A turn is given the tools that there are when it begins, and keeps them.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, TypeGuard, cast, runtime_checkable

from webapp.agent.model import ToolSpec
from webapp.agent.run_context import RunContext
from webapp.agent.tools import Tool, Toolkit, by_name

_log = logging.getLogger(__name__)

TOOLS_MAX = 128  # more than that OpenAI's models refuse, and a turn with them
NAME_MAX_CHARS = 64
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")

AnyTool: TypeAlias = Tool[..., Any]


@runtime_checkable
class LiveToolkit(Protocol):
    """Tools that come and go."""

    name: str

    def start(self) -> None:
        """Makes the tools come, and waits for nothing."""
        ...

    def tools_now(self, context: RunContext | None = None) -> tuple[AnyTool, ...]:
        """Those that can be called now; the same tuple as long as they are the same."""
        ...

    @property
    def known_tools(self) -> tuple[AnyTool, ...]:
        """Those of now, or the last ones that there were."""
        ...

    def begin_to_close(self) -> None:
        """Begins to let go of what the tools need, and waits for nothing."""
        ...

    def close(self) -> None:
        """Lets go of it; it may be called again."""
        ...


@dataclass(frozen=True, slots=True)
class Offer:
    """Tools by the names that a model is told, and in sentences what was left out."""

    tools: Mapping[str, AnyTool]
    specs: tuple[ToolSpec, ...]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, tools: Mapping[str, AnyTool], left_out: Sequence[str] = ()) -> Offer:
        return cls(tools, tuple(tool.spec for tool in tools.values()), tuple(left_out))


@dataclass(slots=True)
class _Kept:
    """The offer that was made last, and of which tools."""

    found: tuple[tuple[AnyTool, ...], ...] = ()
    offer: Offer = field(default_factory=lambda: Offer({}, ()))


class ToolBox:
    """All tools of an agent. Raises `ConfigurationError` when two lasting ones have one name."""

    def __init__(self, toolkits: Sequence[Toolkit | LiveToolkit]) -> None:
        self._live = tuple(kit for kit in toolkits if is_live(kit))
        # Of one that is neither, by_name says what is wrong.
        self._lasting = by_name([cast("Toolkit", kit) for kit in toolkits if not is_live(kit)])
        self._kept = _Kept((), Offer.of(self._lasting))

    def offer(self, context: RunContext | None = None) -> Offer:
        """What there is now."""
        if not self._live:
            return self._kept.offer
        for kit in self._live:
            kit.start()  # all at once, before any of them is waited for
        found = tuple(kit.tools_now(context) for kit in self._live)
        kept = self._kept
        if len(found) == len(kept.found) and all(map(_is_same, found, kept.found)):
            return kept.offer
        offer = offer_of(self._lasting, self._live, found)
        for sentence in offer.left_out:
            if sentence not in kept.offer.left_out:
                _log.warning("%s", sentence)
        self._kept = _Kept(found, offer)
        return offer

    @property
    def known(self) -> Offer:
        """What there would be if every toolkit had its tools."""
        return offer_of(self._lasting, self._live, [kit.known_tools for kit in self._live])

    def close(self) -> None:
        """Closes the toolkits that have something to close."""
        close_all(self._live)


def offer_of(
    lasting: Mapping[str, AnyTool],
    kits: Sequence[LiveToolkit],
    found: Sequence[tuple[AnyTool, ...]],
) -> Offer:
    """The lasting tools, then those found in each of the `kits`.

    One whose name another kit has too, or a lasting tool, has the name of its kit in front, so
    that its name does not depend on which came first. Also a kit that is away counts, else names
    would change when it comes back.
    """
    known = Counter(tool.name for kit in kits for tool in kit.known_tools)
    tools, left_out = dict(lasting), []
    too_many: Counter[str] = Counter()
    for kit, some in zip(kits, found, strict=True):
        for tool in some:
            own = tool.name not in lasting and known[tool.name] < 2
            name = tool.name if own else fitting_name(f"{kit.name}_{tool.name}")
            if name in tools:
                left_out.append(f"The tool {name} of {kit.name} is left out: another has its name.")
            elif len(tools) >= TOOLS_MAX:
                too_many[kit.name] += 1
            else:
                tools[name] = tool if own else replace(tool, name=name)
    left_out += [
        f"{number} tools of {kit} are left out: a model is offered {TOOLS_MAX} in all."
        for kit, number in too_many.items()
    ]
    return Offer.of(tools, left_out)


def close_all(kits: Sequence[object]) -> None:
    """Closes those that have something to close, together."""
    live = [kit for kit in kits if is_live(kit)]
    for kit in live:
        kit.begin_to_close()
    for kit in live:
        kit.close()


def is_live(kit: object) -> TypeGuard[LiveToolkit]:
    """Whether the tools of a toolkit come and go."""
    return isinstance(kit, LiveToolkit) and not isinstance(kit, type)


def fitting_name(name: str) -> str:
    """A name that every model's server takes; one that is too long keeps its beginning."""
    plain = _FOREIGN.sub("_", name)
    if len(plain) <= NAME_MAX_CHARS:
        return plain
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: NAME_MAX_CHARS - 9]}_{mark}"


def _is_same(one: tuple[AnyTool, ...], other: tuple[AnyTool, ...]) -> bool:
    return one is other
