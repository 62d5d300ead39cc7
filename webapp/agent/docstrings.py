"""Reads what a docstring says about a function and its parameters; not its types.

The styles are those of docstring_parser: Google, NumPy, Sphinx and Epydoc. Which one it is, is
decided by the function: the style in which most of its parameters are described.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

from docstring_parser import Docstring, DocstringParam, ParseError, epydoc, numpydoc, rest
from docstring_parser.google import DEFAULT_SECTIONS, GoogleParser, Section, SectionType

# Attributes belong to a class; arguments that are given by name have sections of their own.
_GOOGLE = [section for section in DEFAULT_SECTIONS if section.key != "attribute"] + [
    Section(title, "param", SectionType.MULTIPLE)
    for title in ("Keyword Args", "Keyword Arguments", "Other Parameters", "Other Arguments")
]
# A type may hold colons, as :obj:`str` does, and is of no use here.
_TYPED = re.compile(r"^([ \t]+\*{0,2}\w+)[ \t]*\(.*?\)[ \t]*:(?=\s|$)", re.MULTILINE)


def summary(function: Callable[..., object]) -> str:
    """The first paragraph, on one line; empty when there is no docstring."""
    description = _parsed(function).description or ""
    return " ".join(description.strip().split("\n\n", 1)[0].split())


def parameters(function: Callable[..., object]) -> dict[str, str]:
    """Descriptions by parameter, each on one line, of the parameters that the function has."""
    return _described(_parsed(function), _names(function))


def _parsed(function: Callable[..., object]) -> Docstring:
    """The reading that describes most of the function's parameters, or else says most."""
    names = _names(function)
    # The line feed in front says that what follows has been cleaned of its indent already.
    readings = list(_readings(f"\n{inspect.getdoc(function) or ''}", names))
    return max(readings, key=lambda each: (len(_described(each, names)), len(each.meta)))


def _readings(text: str, names: frozenset[str]) -> Iterator[Docstring]:
    for parse, given in (
        (rest.parse, text),
        (GoogleParser(_GOOGLE).parse, _plain_google(text, names)),
        (numpydoc.parse, text),
        (epydoc.parse, text),
    ):
        try:
            yield parse(given)
        except ParseError:
            continue  # it is in another style, and Sphinx's takes any text


def _plain_google(text: str, names: frozenset[str]) -> str:
    """Without types, and with a colon behind a name that nothing is said of."""
    bare = re.compile(rf"^([ \t]+(?:{'|'.join(map(re.escape, names))}))[ \t]*$", re.MULTILINE)
    return bare.sub(r"\1:", _TYPED.sub(r"\1:", text)) if names else text


def _described(docstring: Docstring, names: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in docstring.meta:
        if not isinstance(each, DocstringParam) or each.args[0] == "attribute":
            continue
        for name in each.arg_name.split(","):  # NumPy's style describes several at once
            bare = name.strip().lstrip("*")
            if bare in names and each.description:
                found.setdefault(bare, " ".join(each.description.split()))
    return found


def _names(function: Callable[..., object]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()  # a tool's arguments are refused with a sentence in tool_arguments.py
