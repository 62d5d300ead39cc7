"""Charts drawn on the server: series in, an SVG plot with its axes and table out; no HTML page.

The plot stretches to the width it is given while its strokes keep theirs, so the words of the
axes are left to the template, where they stay readable at 320 pixels. Colours are classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from webapp.usage.figures import Point
from webapp.web.admin.display.format import compact, duration, number, utc

WIDTH = 720.0
HEIGHT = 200.0
X_TICKS = 5


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of the legend; `css` is the class that colours its swatch."""

    label: str
    css: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart: the plot, what stands at its edges, and the same data as a table.

    `y_ticks` run from top to bottom and `x_ticks` (epoch milliseconds) from left to right, both
    evenly spaced from edge to edge. `rows` pair a bucket's start with its formatted figures.
    """

    title: str
    summary: str
    svg: Markup
    y_ticks: tuple[str, ...]
    x_ticks: tuple[int, ...]
    x_style: str
    keys: tuple[Key, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    empty: bool


def traffic_chart(series: Sequence[Point], *, title: str = "Requests and errors") -> Chart:
    """Draw stacked bars: answered below, refused and failed requests on top."""
    counts = [
        (point.totals.requests, point.totals.errors, point.totals.rate_limited) for point in series
    ]
    top, steps = _scale(
        max((max(asked, failed + refused) for asked, failed, refused in counts), default=0),
        whole=True,
    )
    body = [_grid(steps)]
    step = WIDTH / max(len(counts), 1)
    gap = min(step * 0.25, 3.0)
    for index, (asked, failed, refused) in enumerate(counts):
        base = HEIGHT
        # What was asked counts every request, so what went well is the rest.
        answered = max(asked - failed - refused, 0)
        for value, css in ((answered, "ok"), (refused, "refused"), (failed, "error")):
            if value:
                # A single failure among a million requests still has to be seen.
                tall = max(value / top * HEIGHT, 1.5)
                base -= tall
                body.append(
                    f'<rect class="bar {css}" x="{_n(index * step + gap / 2)}" '
                    f'y="{_n(max(base, 0))}" width="{_n(step - gap)}" height="{_n(tall)}"/>'
                )
    cells = [tuple(number(value) for value in count) for count in counts]
    requests, errors, rate_limited = (sum(count[place] for count in counts) for place in range(3))
    return _chart(
        title,
        f"{number(requests)} requests, of which {number(errors)} ended in an error and "
        f"{number(rate_limited)} were rate limited.",
        series,
        body,
        [
            f"{asked} requests, {failed} errors, {refused} rate limited"
            for asked, failed, refused in cells
        ],
        y_ticks=_ticks(top, steps, compact),
        keys=(Key("Answered", "ok"), Key("Rate limited", "refused"), Key("Errors", "error")),
        columns=("Requests", "Errors", "Rate limited"),
        cells=cells,
        empty=requests == 0,
    )


def latency_chart(series: Sequence[Point], *, title: str = "Latency") -> Chart:
    """Draw p50, p95 and p99 as lines, broken where nothing was asked."""
    times = [point.totals.latency for point in series]
    lines: tuple[tuple[str, list[int | None]], ...] = (
        ("p99", [time.p99 for time in times]),
        ("p95", [time.p95 for time in times]),
        ("p50", [time.p50 for time in times]),
    )
    known = [value for _, values in lines for value in values if value is not None]
    top, steps = _scale(max(known, default=0), whole=False)
    body = [_grid(steps)]
    step = WIDTH / max(len(series), 1)
    for css, values in lines:
        points = [
            None if value is None else ((index + 0.5) * step, HEIGHT - value / top * HEIGHT)
            for index, value in enumerate(values)
        ]
        body.append(f'<path class="line {css}" d="{_path(points)}"/>')
    cells = [(duration(time.p50), duration(time.p95), duration(time.p99)) for time in times]
    slowest = max((time.p95 for time in times if time.p95 is not None), default=None)
    return _chart(
        title,
        "No latency was measured."
        if slowest is None
        else f"p95 was {duration(slowest)} at its highest.",
        series,
        body,
        [f"p50 {half}, p95 {most}, p99 {nearly_all}" for half, most, nearly_all in cells],
        y_ticks=_ticks(top, steps, duration),
        keys=(Key("p50", "p50"), Key("p95", "p95"), Key("p99", "p99")),
        columns=("p50", "p95", "p99"),
        cells=cells,
        empty=not known,
    )


def _chart(
    title: str,
    summary: str,
    series: Sequence[Point],
    body: list[str],
    texts: list[str],
    *,
    y_ticks: tuple[str, ...],
    keys: tuple[Key, ...],
    columns: tuple[str, ...],
    cells: Sequence[tuple[str, ...]],
    empty: bool,
) -> Chart:
    starts = [point.at_ms for point in series]
    span = starts[1] - starts[0] if len(starts) > 1 else 0
    step = WIDTH / max(len(series), 1)
    for index, (at, text) in enumerate(zip(starts, texts, strict=True)):
        body.append(
            f'<rect class="hit" x="{_n(index * step)}" y="0" width="{_n(step)}" '
            f'height="{_n(HEIGHT)}" data-at="{at}">'
            f"<title>{escape(utc(at))}: {escape(text)}</title></rect>"
        )
    svg = (
        f'<svg class="plot" role="img" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" '
        'preserveAspectRatio="none" focusable="false" '
        f'aria-label="{escape(title)}: {escape(summary)}">'
        f"<title>{escape(title)}</title><desc>{escape(summary)}</desc>{''.join(body)}</svg>"
    )
    ends = (starts[0], starts[-1] + span) if starts else (0, 0)
    count = X_TICKS if len(starts) > 1 else len(starts)
    x_ticks = tuple(
        round(ends[0] + (ends[1] - ends[0]) * index / max(count - 1, 1)) for index in range(count)
    )
    return Chart(
        title=title,
        summary=summary,
        svg=Markup(svg),  # noqa: S704  # nosec B704  # every value is escaped above
        y_ticks=y_ticks,
        x_ticks=x_ticks,
        x_style="clock" if ends[1] - ends[0] <= 26 * 3_600_000 else "day",
        keys=keys,
        columns=columns,
        rows=tuple(zip(starts, cells, strict=True)),
        empty=empty,
    )


def _scale(peak: float, *, whole: bool) -> tuple[float, int]:
    """Return a round top for the axis and into how many even steps it is divided."""
    if peak <= 0:
        return (4.0 if whole else 1000.0), 4
    raw = peak / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, math.ceil(step))
    steps = max(math.ceil(peak / step - 1e-9), 1)
    return step * steps, steps


def _ticks(top: float, steps: int, write: Callable[[float], str]) -> tuple[str, ...]:
    return tuple(write(top * index / steps) if index else "0" for index in range(steps, -1, -1))


def _grid(steps: int) -> str:
    heights = (HEIGHT * index / steps for index in range(steps + 1))
    return "".join(f'<path class="grid" d="M0 {_n(y)}H{WIDTH:g}"/>' for y in heights)


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    drawn, pen_down = [], False
    for index, point in enumerate(points):
        if point is None:
            pen_down = False
            continue
        drawn.append(f"{'L' if pen_down else 'M'}{_n(point[0])} {_n(point[1])}")
        alone = not pen_down and (index + 1 == len(points) or points[index + 1] is None)
        # A stroke of no length with round ends is a dot, whatever the plot is stretched to.
        drawn.append("h0" if alone else "")
        pen_down = True
    return "".join(drawn)


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
