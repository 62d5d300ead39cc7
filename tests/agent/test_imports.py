"""Tests of what `webapp.agent` gives and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import webapp.agent


def test_every_public_name_is_there() -> None:
    for name in webapp.agent.__all__:
        assert getattr(webapp.agent, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nowhere"):
        _ = webapp.agent.Nowhere


def test_openai_is_imported_only_when_its_model_is_asked_for() -> None:
    program = (
        "import sys, webapp.agent, webapp.agent.toolkits\n"
        "assert 'openai' not in sys.modules\n"
        "from webapp.agent import OpenAIModel\n"
        "assert 'openai' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("program", "others"),
    [
        ("import webapp.agent", {"openai", "httpx2", "flask", "gunicorn", "gevent", "numpy"}),
        (
            "from webapp.cli import main\nsys.argv = ['switchboard', '--help']\n"
            "try:\n    main()\nexcept SystemExit:\n    pass",
            {"openai", "httpx2", "flask", "gunicorn", "gevent", "numpy", "pydantic", "sqlite3"},
        ),
    ],
    ids=["the agent", "the help"],
)
def test_the_start_brings_nothing_heavy_that_it_does_not_use(
    program: str, others: set[str]
) -> None:
    tell = f"import sys\n{program}\nprint(sorted({others} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
