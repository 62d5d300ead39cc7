"""How the console writes numbers, durations, sizes and times; no data is fetched here."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from jinja2 import Environment
from markupsafe import Markup

NOTHING = "–"
# A figure and its unit stay on one line.
SPACE = "\u00a0"
MINUS = "\u2212"

Tone = Literal["good", "bad", "neutral"]


@dataclass(frozen=True, slots=True)
class Change:
    """The difference of a figure from the window before, ready to be shown."""

    text: str
    direction: Literal["up", "down", "level"]
    tone: Tone


def number(value: float | None) -> str:
    """Return a whole number with thousands (12,345); nothing known is a dash."""
    return NOTHING if value is None else f"{round(value):,}".replace("-", MINUS)


def compact(value: float | None) -> str:
    """Return a number of three or four signs for narrow places: 950, 12.3k, 4.56M."""
    if value is None:
        return NOTHING
    if abs(value) < 1000:
        return f"{value:g}" if value != round(value) else str(round(value))
    size, sign = abs(float(value)), MINUS if value < 0 else ""
    for factor, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")):
        # 999,950 would be written 1000k; it is 1M.
        if size < factor * 999.5 or unit == "T":
            break
    return f"{sign}{_three_digits(size / factor)}{unit}"


def duration(milliseconds: float | None) -> str:
    """Return a span of time from milliseconds: 845 ms, 1.24 s, 2 min 5 s, 3 h 20 min, 4 d."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 999.5:
        precise = milliseconds < 9.95 and milliseconds != round(milliseconds)
        return f"{milliseconds:.1f}{SPACE}ms" if precise else f"{round(milliseconds)}{SPACE}ms"
    seconds = milliseconds / 1000
    if seconds < 59.95:
        return f"{_three_digits(seconds)}{SPACE}s"
    whole = round(seconds)
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            return _pair(whole // size, unit, whole % size // smaller, small_unit)
    return _pair(whole // 60, "min", whole % 60, "s")


def size(count: float | None) -> str:
    """Return a number of bytes in binary units: 512 B, 1.5 KiB, 20 MiB."""
    if count is None:
        return NOTHING
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1023.5:
            break
        amount, unit = amount / 1024, larger
    return f"{round(amount)}{SPACE}B" if unit == "B" else f"{_three_digits(amount)}{SPACE}{unit}"


def percent(part: float | None, whole: float | None) -> str:
    """Return a share: 0 %, <0.1 %, 4.2 %, 38 %; a dash when there is no whole to speak of."""
    if part is None or not whole:
        return NOTHING
    share = 100 * part / whole
    if share == 0 or share >= 9.95:
        return f"{round(share)}{SPACE}%"
    return f"<0.1{SPACE}%" if share < 0.05 else f"{share:.1f}{SPACE}%"


def change(
    now: float | None, before: float | None, better: Literal["up", "down", ""] = ""
) -> Change | None:
    """Compare with the window before; None when there was nothing to compare with."""
    if now is None or not before:
        return None
    ratio = (now - before) / before
    if abs(ratio) < 0.005:
        return Change("no change", "level", "neutral")
    direction: Literal["up", "down"] = "up" if ratio > 0 else "down"
    tone: Tone = "neutral" if not better else "good" if direction == better else "bad"
    # Beyond a tenfold rise a percentage stops saying anything.
    text = f"×{now / before:.0f}" if ratio >= 9 else f"{abs(ratio) * 100:.0f}{SPACE}%"
    sign = "" if text.startswith("×") else "+" if ratio > 0 else MINUS
    return Change(sign + text, direction, tone)


def iso(milliseconds: int) -> str:
    """Return epoch milliseconds as an ISO 8601 instant in UTC, for `datetime` attributes."""
    moment = _moment(milliseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def utc(milliseconds: int | None) -> str:
    """Return epoch milliseconds as a person writes them: 23 Nov 2026, 21:25 UTC."""
    if milliseconds is None:
        return NOTHING
    moment = _moment(milliseconds)
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def when(moment: int | datetime | None, style: str = "moment") -> Markup:
    """Return a `<time>`: UTC here, turned by the page's script to the reader's zone.

    `style` is how the script writes it: `moment` (date and time), `relative` (5 min ago),
    `date`, and `clock` and `day` for the axes of charts.
    """
    if moment is None:
        return Markup('<span class="nothing">{}</span>').format(NOTHING)
    if isinstance(moment, datetime):
        moment = round(moment.timestamp() * 1000)
    milliseconds, moment = moment, _moment(moment)
    text = {
        "date": f"{moment.day} {moment:%b %Y}",
        "clock": f"{moment:%H:%M}",
        "day": f"{moment.day} {moment:%b}",
    }.get(style, utc(milliseconds))
    exact = f"{moment.day} {moment:%b %Y, %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}" data-time="{}">{}</time>').format(
        iso(milliseconds), exact, style, text
    )


def invisible(text: str) -> list[str]:
    """Name the characters of an id that an eye cannot see (zero width, direction marks)."""
    # A joiner inside an emoji is how that emoji is spelt, so it alone is no cause for alarm.
    found = {char for char in text if unicodedata.category(char) == "Cf" and char != "\u200d"}
    return [
        f"U+{ord(char):04X} {unicodedata.name(char, '').lower()}".strip() for char in sorted(found)
    ]


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: 1 message, 2,300 messages."""
    return f"{number(count)}{SPACE}{one if count == 1 else many or one + 's'}"


def differences(
    before: Mapping[str, object], after: Mapping[str, object]
) -> list[tuple[str, str, str]]:
    """Pair what an audit entry noted before and after; a value that is missing is empty."""
    names = [*before, *(name for name in after if name not in before)]
    return [
        (name.replace("_", " "), _noted(before.get(name)), _noted(after.get(name)))
        for name in names
    ]


def install(environment: Environment) -> None:
    """Give a template environment the filters of this module, before it loads a template."""
    filters: Mapping[str, Callable[..., object]] = {
        "number": number,
        "compact": compact,
        "duration": duration,
        "size": size,
        "percent": percent,
        "change": change,
        "iso": iso,
        "utc": utc,
        "when": when,
        "invisible": invisible,
        "plural": plural,
        "differences": differences,
    }
    environment.filters.update(filters)
    # A third of a page would be the white space around its own tags.
    environment.trim_blocks = environment.lstrip_blocks = True


def _noted(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else str(value)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC)


def _three_digits(value: float) -> str:
    places = 2 if value < 9.995 else 1 if value < 99.95 else 0
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _pair(large: int, unit: str, small: int, small_unit: str) -> str:
    first = f"{large}{SPACE}{unit}"
    return f"{first} {small}{SPACE}{small_unit}" if small else first
