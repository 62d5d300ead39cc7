"""A session's state as tools and guardrails of one turn see it: a dict that keeps its changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from webapp.errors import InvalidState
from webapp.session_state.changes import StateChanges
from webapp.session_state.values import (
    MAX_BYTES,
    Fields,
    fields_of,
    require_size,
    size_of_field,
    value_of,
    values_of,
)

_NOTHING = object()


class SessionState(MutableMapping[str, Any]):
    """The state of the run's session: like a dict with text as keys and JSON as values.

    What is read is a copy: a list that was taken out changes nothing until it is set again. All
    methods may be called by several tools at once; `change` reads and sets with nobody in between.
    The changes are stored together with the turn's messages, or, when the turn fails, not at all.
    Raises `InvalidState` for what is not JSON, and `StateTooLarge`, and then it is as it was.

    It is read when it is first looked at, so that a turn that does not ask for it pays nothing.
    """

    __slots__ = (
        *("_base", "_lock", "_max_bytes", "_now", "_over", "_read", "_refusal", "_seen"),
        *("_seen_all", "_size"),
    )

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        read: Callable[[], Mapping[str, str]] | None = None,
        max_bytes: int = MAX_BYTES,
        refusal: str = "",
    ) -> None:
        """`read` gives the stored state, see `values.Fields`. With a `refusal` nothing can be set,
        and it says why."""
        self._lock = threading.RLock()
        self._base: Mapping[str, str] | None = None
        self._now: Fields = {}
        self._size = 0
        self._seen: set[str] = set()
        self._seen_all = False
        self._read = read
        self._max_bytes = max_bytes
        self._refusal = refusal
        self._over = False
        if values is not None:
            self._begin(fields_of(values))

    def __getitem__(self, key: str) -> Any:
        with self._lock:
            text = self._fields().get(key)
            self._seen.add(key)
        if text is None:
            raise KeyError(key)
        return value_of(text)

    def __contains__(self, key: object) -> bool:
        with self._lock:
            if isinstance(key, str):
                self._seen.add(key)
            return key in self._fields()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        with self._lock:
            if key not in self:
                raise KeyError(key)
            self.delete(key)

    def set(self, key: str, value: Any) -> None:
        """`state[key] = value`."""
        self[key] = value

    def delete(self, key: str) -> None:
        """Removes the key, if it is there."""
        with self._lock:
            fields = self._writable()
            if key in fields:
                self._size -= size_of_field(key, fields.pop(key))

    def copy(self) -> dict[str, Any]:
        """All of it as a dict of the caller's own."""
        return values_of(self._all())

    def change(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Sets the key to what `function` makes of its value, or of `default`; gives that value.

        No other tool reads or writes the state meanwhile: `state.change("count", lambda n: n + 1,
        0)` counts right whatever runs at once.
        """
        with self._lock:
            value = function(self.get(key, default))
            self[key] = value
            return value

    def update(self, *others: Any, **values: Any) -> None:
        """As of a dict; all of it or, with an error, nothing."""
        given = fields_of(dict(*others, **values))
        with self._lock:
            fields = self._writable()
            size = self._size
            for key, text in given.items():
                before = fields.get(key)
                size += size_of_field(key, text)
                size -= 0 if before is None else size_of_field(key, before)
            if size > self._size:
                require_size(1 + size, self._max_bytes)
            fields.update(given)
            self._size = size

    def clear(self) -> None:
        with self._lock:
            self._writable().clear()
            self._size = 0

    def pop(self, key: str, default: Any = _NOTHING) -> Any:
        with self._lock:
            value = self[key] if default is _NOTHING else self.get(key, default)
            self.delete(key)
            return value

    def popitem(self) -> tuple[str, Any]:
        with self._lock:
            return super().popitem()

    def setdefault(self, key: str, default: Any = None) -> Any:
        with self._lock:
            return super().setdefault(key, default)

    def finish(self) -> StateChanges | None:
        """Ends the state with its turn: what was changed, None for nothing.

        A tool that is still running, because nobody waited for it, cannot change it any more.
        """
        with self._lock:
            self._over = True
            if self._base is None:
                return None
            base, now = self._base, self._now
            sets = {key: text for key, text in now.items() if base.get(key) != text}
            deletes = frozenset(base.keys() - now.keys())
            if not sets and not deletes:
                return None
            changed = (*sets, *deletes)
            seen = changed if self._seen_all else self._seen.intersection(changed)
            return StateChanges(sets, deletes, {key: base.get(key) for key in seen})

    def _begin(self, fields: Mapping[str, str]) -> None:
        self._base, self._now = fields, dict(fields)
        self._size = sum(size_of_field(key, text) for key, text in fields.items())

    def _fields(self) -> Fields:
        if self._base is None:
            self._begin({} if self._read is None else self._read())
        return self._now

    def _all(self) -> Fields:
        """A copy of all fields; what is not among them has been seen as well."""
        with self._lock:
            self._seen_all = True
            return dict(self._fields())

    def _writable(self) -> Fields:
        if self._refusal:
            raise InvalidState(self._refusal)
        if self._over:
            raise InvalidState("The turn is over, so its session's state cannot be changed.")
        return self._fields()
