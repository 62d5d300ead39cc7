"""The charts drawn on the server: whole, bounded and readable by machines, whatever the data."""

import re
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

import pytest

from webapp.usage.figures import Percentiles, Point, Totals
from webapp.web.admin.display.charts import HEIGHT, WIDTH, Chart, latency_chart, traffic_chart

HOUR = 3_600_000
START = 1_795_392_000_000  # 23 November 2026, 00:00 UTC


def series(*counts: tuple[int, int, int], p50: int | None = 400) -> list[Point]:
    times = Percentiles(p50, p50 and p50 * 2, p50 and p50 * 3)
    return [
        Point(START + index * HOUR, Totals(asked, failed, refused, latency=times))
        for index, (asked, failed, refused) in enumerate(counts)
    ]


def elements(chart: Chart, css: str) -> list[ET.Element]:
    root = ET.fromstring(str(chart.svg))  # noqa: S314 - our own drawing
    return [item for item in root.iter() if item.get("class", "").startswith(css)]


def heights(chart: Chart, css: str) -> list[float]:
    return [float(item.get("height", "0")) for item in elements(chart, css)]


def test_a_bar_is_as_tall_as_its_share_of_the_axis() -> None:
    chart = traffic_chart(series((100, 0, 0), (50, 0, 0)))
    assert heights(chart, "bar ok") == [HEIGHT, HEIGHT / 2]
    assert chart.y_ticks == ("100", "75", "50", "25", "0")


def test_errors_and_refusals_stand_on_what_was_answered() -> None:
    chart = traffic_chart(series((100, 20, 10)))
    assert heights(chart, "bar") == [HEIGHT * 0.7, HEIGHT * 0.1, HEIGHT * 0.2]
    tops = [float(item.get("y", "0")) for item in elements(chart, "bar")]
    assert tops == pytest.approx([HEIGHT * 0.3, HEIGHT * 0.2, 0])


def test_one_error_among_a_million_requests_can_be_seen() -> None:
    assert heights(traffic_chart(series((1_000_000, 1, 0))), "bar error") == [1.5]


@pytest.mark.parametrize("draw", [traffic_chart, latency_chart])
@pytest.mark.parametrize(
    "points",
    [
        [],
        series((0, 0, 0), p50=None),
        series((1, 1, 1)),
        series(*[(0, 0, 0)] * 60, p50=None),
        series((10**12, 10**11, 0), (0, 0, 0), p50=10**9),
        series((3, 5, 5)),
    ],
)
def test_a_chart_of_any_data_is_well_formed_and_stays_in_its_box(
    draw: Callable[[Sequence[Point]], Chart], points: list[Point]
) -> None:
    chart = draw(points)
    for item in ET.fromstring(str(chart.svg)).iter():  # noqa: S314 - our own drawing
        for name, most in (("x", WIDTH), ("y", HEIGHT), ("width", WIDTH), ("height", HEIGHT)):
            assert 0 <= float(item.get(name, "0")) <= most
    assert not re.search(r"nan|inf|style=", str(chart.svg))
    assert len(chart.rows) == len(points)
    assert chart.y_ticks[-1] == "0"


def test_an_empty_chart_says_so() -> None:
    assert traffic_chart(series((0, 0, 0))).empty
    assert latency_chart(series((4, 0, 0), p50=None)).empty
    assert not traffic_chart(series((1, 0, 0))).empty


def test_a_screen_reader_gets_a_name_a_summary_and_the_table() -> None:
    chart = traffic_chart(series((1200, 3, 1), (800, 0, 0)))
    root = ET.fromstring(str(chart.svg))  # noqa: S314 - our own drawing
    assert root.get("role") == "img"
    assert root.get("aria-label") == (
        "Requests and errors: 2,000 requests, of which 3 ended in an error and 1 were rate limited."
    )
    assert chart.columns == ("Requests", "Errors", "Rate limited")
    assert chart.rows[0] == (START, ("1,200", "3", "1"))


def test_a_bucket_tells_its_figures_under_the_pointer() -> None:
    chart = latency_chart(series((1, 0, 0)))
    (hit,) = elements(chart, "hit")
    (title,) = list(hit)
    assert title.text is not None
    assert title.text.replace("\u00a0", " ") == (
        "23 Nov 2026, 00:00 UTC: p50 400 ms, p95 800 ms, p99 1.2 s"
    )


def test_a_line_is_broken_where_nothing_was_asked_and_a_lone_point_is_a_dot() -> None:
    points = [
        *series((1, 0, 0)),
        Point(START + HOUR, Totals()),
        *(Point(START + n * HOUR, series((1, 0, 0))[0].totals) for n in (2, 3)),
    ]
    path = elements(latency_chart(points), "line p50")[0].get("d", "")
    assert re.fullmatch(r"M[\d. ]+h0M[\d. ]+L[\d. ]+", path)


def test_the_axis_of_time_runs_from_the_first_start_to_the_last_end() -> None:
    day = traffic_chart(series(*[(1, 0, 0)] * 24))
    assert (day.x_ticks[0], day.x_ticks[-1]) == (START, START + 24 * HOUR)
    assert day.x_style == "clock"
    assert traffic_chart(series(*[(1, 0, 0)] * 48)).x_style == "day"


def test_a_title_is_escaped() -> None:
    assert "<script>" not in traffic_chart(series((1, 0, 0)), title="<script>").svg
