"""Writes figures in Prometheus' text exposition format 0.0.4; where they come from is not here.

Source of the format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value; `suffix` goes behind the metric's name, as `_bucket` does."""

    value: float
    labels: Mapping[str, str]
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with all its samples; one without samples is left out."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]


def metric(name: str, kind: Kind, help: str, value: float, **labels: str) -> Metric:  # noqa: A002  # the HELP of the format
    """A metric of one sample."""
    return Metric(name, kind, help, (Sample(value, labels),))


def histogram(name: str, help: str, cumulative: Mapping[float, int], total: float) -> Metric:  # noqa: A002  # the HELP of the format
    """A histogram: how many were at most each bound, infinity among them; `total` is their sum."""
    count = cumulative[float("inf")]
    buckets = [
        Sample(number, {"le": number_text(bound)}, "_bucket")
        for bound, number in sorted(cumulative.items())
    ]
    return Metric(
        name,
        "histogram",
        help,
        (*buckets, Sample(total, {}, "_sum"), Sample(count, {}, "_count")),
    )


def text_of(metrics: Iterable[Metric]) -> str:
    """The whole page; each line ends in a line feed, as the format wants it."""
    lines: list[str] = []
    for one in metrics:
        if not one.samples:
            continue
        lines.append(f"# HELP {one.name} {_escaped(one.help)}")
        lines.append(f"# TYPE {one.name} {one.kind}")
        lines += [
            f"{one.name}{sample.suffix}{_labels(sample.labels)} {number_text(sample.value)}"
            for sample in one.samples
        ]
    return "".join(f"{line}\n" for line in lines)


def number_text(value: float) -> str:
    """A number as the format writes it: whole ones without a point, infinity as `+Inf`."""
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (
        f'{name}="{_escaped(value).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in labels.items()
    )
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
