"""The errors are one tree, in one module, and its docstring draws all of it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import webapp
from webapp import errors
from webapp.errors import SwitchboardError

INDENT = 4


def everything_below(kind: type[SwitchboardError]) -> Iterator[type[SwitchboardError]]:
    for below in kind.__subclasses__():
        yield below
        yield from everything_below(below)


def drawn() -> dict[str, str]:
    """Each error of the drawing, and the one that it hangs on."""
    found: dict[str, str] = {}
    above: dict[int, str] = {0: "SwitchboardError"}
    for line in (errors.__doc__ or "").splitlines():
        branch, mark, rest = line.partition("── ")
        if mark:
            depth = len(branch) // INDENT
            name = rest.split()[0]
            above[depth] = name
            found[name] = above[depth - 1]
    return found


def test_every_error_is_in_the_module_and_its_drawing() -> None:
    for module in pkgutil.walk_packages(webapp.__path__, "webapp."):
        # The one is an application, and the others need the extra `embedded`.
        if not module.name.startswith(("webapp.wsgi", "webapp.local_model.")):
            importlib.import_module(module.name)
    kinds = [kind for kind in everything_below(SwitchboardError) if "test" not in kind.__module__]
    assert [kind.__qualname__ for kind in kinds if kind.__module__ != errors.__name__] == []
    assert drawn() == {kind.__name__: kind.__bases__[0].__name__ for kind in kinds}


def test_every_error_has_a_code_and_a_status_of_a_failure() -> None:
    for kind in everything_below(SwitchboardError):
        assert kind.code == kind.code.lower().replace(" ", "_")
        assert 400 <= kind.status < 600
