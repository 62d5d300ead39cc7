"""How lists and figures are written: tables that fit the terminal, tabs for programs, JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

import click

from webapp.cli.text import columns_of, cut, padded, visible

AS_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")
LIMIT = click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="0 lists all."
)
GAP = "  "
LOOKED_AT = 200
LEAST_FLEXIBLE = 12


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. In a narrow terminal those of the highest `dispensable` go first, then
    the `flexible` ones are cut. A `time` is written to the minute there."""

    head: str
    right: bool = False
    flexible: bool = False
    dispensable: int = 0
    time: bool = False


def examples(*commands: str) -> str:
    """The examples at the end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def width() -> int:
    """The terminal's columns, or what COLUMNS says; 0 when nothing need fit."""
    return shutil.get_terminal_size((0, 0)).columns


def write_table(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> int:
    """Writes the rows as they come, below a line of heads; gives their number.

    On a terminal they are aligned and cut to its width, judged by the first two hundred. Anywhere
    else nothing is cut, and tabs stand between the columns. Without rows nothing is written.
    """
    shown = ([visible("" if cell is None else str(cell)) for cell in row] for row in rows)
    if width():
        shown = ([*map(_on_terminal, columns, row)] for row in shown)
    first = list(islice(shown, LOOKED_AT))
    if not first:
        return 0
    heads = [column.head for column in columns]
    whole = chain([heads], first, shown)
    count = -1
    for line in _fitted(columns, [heads, *first], whole) if width() else map("\t".join, whole):
        click.echo(line)
        count += 1
    return count


def write_fields(fields: Iterable[tuple[str, object]]) -> None:
    """One name and value on each line."""
    pairs = [(name, visible(_in_words(value))) for name, value in fields]
    longest = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name:<{longest}}  {value}")


def _in_words(value: object) -> str:
    """As people write it; JSON has its own words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)


def write_json(value: object) -> None:
    """Nothing but the value, indented."""
    click.echo(as_json(value, indent=2))


def write_json_list(rows: Iterable[object]) -> None:
    """A list written as it is read: a million rows need not fit into memory."""
    before = "["
    for row in rows:
        click.echo(before)
        click.echo(as_json(row), nl=False)
        before = ","
    click.echo("[]" if before == "[" else "\n]")


def as_json(value: object, *, indent: int | None = None) -> str:
    """JSON that any terminal can write: letters as such only where the encoding has them all."""
    encoding = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "")
    return json.dumps(value, ensure_ascii=encoding != "utf8", indent=indent)


def moment(milliseconds: int | None) -> str | None:
    """A time as people and programs read it, in UTC."""
    if milliseconds is None:
        return None
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _fitted(
    columns: Sequence[Column], looked_at: Sequence[Sequence[str]], rows: Iterable[Sequence[str]]
) -> Iterator[str]:
    widths = [max(columns_of(row[index]) for row in looked_at) for index in range(len(columns))]
    kept = _kept(columns, widths)
    room = max(width() - len(GAP) * (len(kept) - 1), len(kept))
    excess = sum(widths[index] for index in kept) - room
    for index in sorted(
        kept, key=lambda index: (columns[index].flexible, widths[index]), reverse=True
    ):
        if excess > 0:
            less = max(min(widths[index], LEAST_FLEXIBLE), widths[index] - excess)
            excess -= widths[index] - less
            widths[index] = less
    for row in rows:
        cells = [_cell(columns[index], row[index], widths[index]) for index in kept]
        yield cut(GAP.join(cells).rstrip(), width())


def _on_terminal(column: Column, text: str) -> str:
    return f"{text[:10]} {text[11:16]}" if column.time and text[10:11] == "T" else text


def _cell(column: Column, text: str, columns: int) -> str:
    return padded(cut(text, columns), columns, right=column.right)


def _kept(columns: Sequence[Column], widths: Sequence[int]) -> list[int]:
    """The columns for which there is room, once the flexible ones are cut."""
    kept = list(range(len(columns)))

    def needed() -> int:
        least = sum(
            min(widths[index], LEAST_FLEXIBLE) if columns[index].flexible else widths[index]
            for index in kept
        )
        return least + len(GAP) * (len(kept) - 1)

    while needed() > width():
        least = max(kept, key=lambda index: columns[index].dispensable)
        if not columns[least].dispensable:
            break
        kept.remove(least)
    return kept


def listed(rows: Iterable[Any], limit: int) -> Iterator[Any]:
    """The first `limit` of them; 0 means all."""
    return islice(iter(rows), limit or None)
