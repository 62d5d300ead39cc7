"""The CPU of one call to the model, through `OpenAIModel` and over a bare socket, side by side.

`python -m benchmarks.model_call` runs under gevent, as the server does, against the upstream stub
in another process. Blocks of calls alternate, so that a machine that slows down slows both.
"""

# isort: off
from gevent import monkey

monkey.patch_all()
# isort: on

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Mapping

import gevent

from benchmarks.bare_flask import Upstream
from benchmarks.compare import upstream_stub
from webapp.agent import ModelRequest
from webapp.agent.openai_model import OpenAIModel
from webapp.messages import Message

CASES = ((1, 2, False), (16, 2, False), (16, 8, False), (16, 100, False), (16, 8, True))


def conversation(length: int) -> list[Message]:
    """Return so many messages, the last of them a question."""
    said = [Message.system("Answer in one sentence."), Message.user("How far is the moon?")]
    while len(said) < length:
        said[1:1] = [Message.user("A question."), Message.assistant("An answer to it.")]
    return said


def block(call: Callable[[], object], at_once: int, calls: int) -> float:
    """Make the calls, so many at once, and return the CPU of one in microseconds."""

    def several() -> None:
        for _ in range(calls // at_once):
            call()

    started = time.process_time()
    gevent.joinall([gevent.spawn(several) for _ in range(at_once)], raise_error=True)
    return (time.process_time() - started) / (calls // at_once * at_once) * 1e6


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_call", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="the median of so many is shown")
    parser.add_argument("--calls", type=int, default=800, help="in one block")
    options = parser.parse_args()
    print("| at once | messages | answer | model, µs of CPU | bare socket | against it |")
    print("|--:|--:|---|--:|--:|--:|")
    with upstream_stub() as upstream:
        url = upstream.base_url(0)
        model, bare = OpenAIModel("stub", api_key="benchmark", base_url=url), Upstream(url)
        for at_once, length, streamed in CASES:
            messages = conversation(length)
            wire = [{"role": each.role, "content": each.content} for each in messages]
            asked = {"model": "stub", "messages": wire}

            def through_model(messages: list[Message] = messages, on: bool = streamed) -> None:
                request = ModelRequest(messages, cancel=threading.Event())
                if on:
                    list(model.stream(request))
                else:
                    model.complete(request)

            def over_socket(asked: Mapping[str, object] = asked) -> None:
                bare.ask(json.dumps(asked).encode())

            kinds = (through_model, over_socket)
            taken: dict[Callable[[], None], list[float]] = {kind: [] for kind in kinds}
            for number in range(options.rounds + 1):
                for kind in kinds:
                    cost = block(kind, at_once, options.calls)
                    if number:  # the first is the warming
                        taken[kind].append(cost)
            one, other = (statistics.median(taken[kind]) for kind in kinds)
            answer = "streamed" if streamed else "whole"
            ratio = f"{one / other:.1f} ×"
            print(f"| {at_once} | {length} | {answer} | {one:.0f} | {other:.0f} | {ratio} |")


if __name__ == "__main__":
    main()
