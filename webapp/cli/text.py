"""Text for a terminal: made harmless, measured in columns, cut and wrapped at words; no output."""

from __future__ import annotations

import unicodedata

# They join letters and pictures into one, which Persian and emoji need, and move nothing.
JOINERS = "\u200c\u200d"
REPLACED = "�"
TAB = 8


def visible(text: str) -> str:
    """The text on one line, with what could steer a terminal or turn its direction written out:
    an escape character becomes `\\x1b`, so that an id can still be told from another."""
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in JOINERS
        else char.encode("ascii", "backslashreplace").decode("ascii")
        if ord(char) > 126
        else f"\\x{ord(char):02x}"
        for char in text
    )


def readable(text: str) -> str:
    """Several lines of prose, from which only control characters are taken."""
    return "".join(
        char if char.isprintable() or char in f"\n\t{JOINERS}" else REPLACED
        for char in text.replace("\r\n", "\n").replace("\r", "\n")
    )


def columns_of(text: str) -> int:
    """The number of terminal columns of a text, by Unicode's East Asian widths."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text in at most this number of columns; an ellipsis stands for what is cut."""
    if columns_of(text) <= width:
        return text
    kept, used = "", 1
    for char in text:
        used += _columns(char)
        if used > width:
            break
        kept += char
    return f"{kept}…"


def padded(text: str, width: int, *, right: bool) -> str:
    """The text with spaces up to this number of columns, at its end or in front."""
    spaces = " " * max(0, width - columns_of(text))
    return spaces + text if right else text + spaces


def wrapped(text: str, width: int) -> str:
    """The text with lines of at most `width` columns, broken at words; as it is when that is 0."""
    if not width:
        return text
    wrap = WordWrap(width)
    return wrap.feed(text) + wrap.flush()


class WordWrap:
    """Wraps text that comes piece by piece at the words of a line of `width` columns.

    A word is given out when it has ended, since only then it is known whether it still fits.
    What is wider than the line is broken where it must be; line breaks of the text stay.
    """

    def __init__(self, width: int) -> None:
        self._width = max(1, width)
        self._column = 0
        self._spaces = ""
        self._word = ""

    def feed(self, piece: str) -> str:
        """The text that can be written by now."""
        return "".join(self._take(char) for char in piece)

    def flush(self) -> str:
        """The rest; the next text begins on a line of its own."""
        rest = self._end_word()
        self._column, self._spaces = 0, ""
        return rest

    def _take(self, char: str) -> str:
        if char == "\n":
            done = self._end_word()
            self._column, self._spaces = 0, ""
            return done + "\n"
        if char in " \t":
            done = self._end_word()
            self._spaces += " " * (TAB - self._reached() % TAB) if char == "\t" else " "
            return done
        if _columns(char) == 2:  # Chinese and Japanese may be broken between any two letters
            done = self._end_word()
            self._word = char
            return done + self._end_word()
        self._word += char
        return self._end_word() if columns_of(self._word) >= self._width else ""

    def _reached(self) -> int:
        return self._column + len(self._spaces)

    def _end_word(self) -> str:
        if not self._word:
            return ""
        word, spaces = self._word, self._spaces
        self._word = self._spaces = ""
        wide = columns_of(word)
        if self._column and self._column + len(spaces) + wide > self._width:
            self._column = wide
            return "\n" + word
        self._column += len(spaces) + wide
        return spaces + word
