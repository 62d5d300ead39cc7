"""Asks a model the questions of twenty written dialogues and counts what it got right.

`python -m benchmarks.dialogues` asks the embedded model; `--url`, `--key` and `--model` name
another. The assistant's part of each dialogue is what the model itself answered.
"""

import argparse
import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from webapp.local_model import EmbeddedModel

DIALOGUES = Path(__file__).with_suffix(".json")
# What an answer to "What is my name?" says when no name was told.
NOT_KNOWN = re.compile(r"(?:not|n't) (?:yet )?(?:told|know|said)|not sure", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said to one question that is judged, and whether that was right."""

    about: str
    question: str
    answer: str
    right: bool
    seconds: float

    def __str__(self) -> str:
        verdict = "right" if self.right else "WRONG"
        return f"{verdict} {self.seconds:5.2f} s  {self.about} | {self.question} | {self.answer}"


def is_right(turn: dict[str, Any], answer: str) -> bool:
    """Whether an answer has one of the words it must have, and none that it must not."""
    said = answer.casefold()
    has = any(word.casefold() in said for word in turn.get("has", [""]))
    lacks = not any(word.casefold() in said for word in turn.get("lacks", ()))
    return has and lacks and (not turn.get("unknown") or bool(NOT_KNOWN.search(answer)))


def play(dialogue: dict[str, Any], client: httpx2.Client, model: str) -> Iterator[Answer]:
    """Has one conversation with the model; gives its answers to the questions that are judged."""
    messages = [{"role": "system", "content": "You are a helpful assistant."}]
    for turn in dialogue["turns"]:
        messages.append({"role": "user", "content": turn["user"]})
        begun = time.monotonic()
        got = client.post("chat/completions", json={"model": model, "messages": messages})
        got.raise_for_status()
        said = got.json()["choices"][0]["message"]["content"]
        messages.append({"role": "assistant", "content": said})
        if turn.keys() - {"user"}:
            seconds = time.monotonic() - begun
            yield Answer(dialogue["about"], turn["user"], said, is_right(turn, said), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="as OPENAI_BASE_URL has it")
    parser.add_argument("--key", default="none")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--dialogues", type=Path, default=DIALOGUES)
    asked = parser.parse_args()
    dialogues = json.loads(asked.dialogues.read_text(encoding="utf-8"))
    with ExitStack() as stack:
        if not asked.url:
            embedded = EmbeddedModel().start()
            stack.callback(embedded.stop)
            asked.url, asked.key = embedded.base_url, embedded.key
        headers = {"Authorization": f"Bearer {asked.key}"}
        client = stack.enter_context(
            httpx2.Client(base_url=asked.url + "/", headers=headers, timeout=120)
        )
        answers = [answer for each in dialogues for answer in play(each, client, asked.model)]
    print(*answers, sep="\n")
    wrong = {each.about for each in answers if not each.right}
    right = sum(each.right for each in answers)
    sound = len({each.about for each in answers} - wrong)
    print(f"{right} of {len(answers)} answers right, {sound} dialogues without a fault")


if __name__ == "__main__":
    main()
