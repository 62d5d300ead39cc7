"""Tests of how tokens are counted, against what real vocabularies make of the same texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from webapp.agent.model import ToolSpec
from webapp.agent.tokens import TokenBudget, most_tokens_in
from webapp.messages import Message, ToolCall

# Each text with its tokens in three vocabularies: the first two as bpe-openai 0.1.4 counts them,
# the last as llama.cpp does.
SAMPLES = json.loads(Path(__file__).with_name("token_samples.json").read_text(encoding="utf-8"))
VOCABULARIES = ("o200k_base", "cl100k_base", "smollm2")


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["name"] for sample in SAMPLES])
def test_no_text_has_more_tokens_than_are_counted(sample: dict[str, Any]) -> None:
    real = max(sample[vocabulary] for vocabulary in VOCABULARIES)
    assert real <= most_tokens_in(sample["text"]) <= 2.6 * real


def test_any_text_can_be_counted_and_is_counted_the_same_again() -> None:
    for text in ("", "\ud800", "\0", "a" * 100_000, "\U0001f600" * 1000):
        counted = most_tokens_in(text)
        assert counted >= len(text) // 3
        assert most_tokens_in(text[:]) == counted


def test_a_budget_counts_calls_and_tools() -> None:
    budget = TokenBudget(100, len)
    plain = Message.user("12345")
    calling = Message.assistant("12345", tool_calls=(ToolCall("id", "name", "{}"),))
    assert budget.of([plain]) < budget.of([calling]) < budget.of([calling, plain])
    told = budget.beside([ToolSpec("name", "what it does", {"type": "object"})])
    assert told.for_tools > len("name what it does")
    assert told.less(5).for_tools == told.for_tools + 5
