"""An MCP server by hand, over standard input and output, which can do everything wrong.

It is run as a script, starts in no time, and knows only the older protocol. Its arguments are
what it does wrong from the beginning: `silent`, `rubbish`, `stubborn`, or a file of tools to list.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

HOW = set(sys.argv[1:])
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
WORD = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
NAMES = ["die", "hang", "huge", "larger", "fail", "broken", "environment", "pid", "picture"]
NAMES += ["change", "meta", "both", "parent", "sleep", "chatter"]

lock = threading.Lock()
more: list[dict[str, Any]] = []


def say(message: dict[str, Any]) -> None:
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def text(words: str, **rest: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}], **rest}


def tools() -> list[dict[str, Any]]:
    for name in HOW:
        if name.endswith(".json"):
            listed: list[dict[str, Any]] = json.loads(Path(name).read_text())
            return listed
    some = [{"name": name, "inputSchema": NOTHING} for name in NAMES]
    return [{"name": "echo", "description": "Says it.", "inputSchema": WORD}, *some, *more]


def call(name: str, arguments: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    match name:
        case "echo":
            return text(arguments["word"])
        case "die":
            os._exit(1)
        case "hang":
            time.sleep(600)
        case "sleep":
            time.sleep(0.3)
        case "huge":
            return text("x" * 1_000_000)
        case "larger":
            return text("x" * 10_000_000)
        case "fail":
            return text("It is closed on Sundays.", isError=True)
        case "broken":
            return {"content": "nonsense"}
        case "environment":
            return text(json.dumps(sorted(os.environ)))
        case "pid":
            return text(str(os.getpid()))
        case "parent":
            child = subprocess.Popen(["sleep", "600"])
            return text(str(child.pid))
        case "picture":
            return {
                "content": [
                    {"type": "image", "data": "QUJD" * 8000, "mimeType": "image/png"},
                    {"type": "resource_link", "uri": "file:///a.txt", "name": "a"},
                    {"type": "resource", "resource": {"uri": "file:///b.txt", "text": "bee"}},
                ]
            }
        case "both":
            return text("three found", structuredContent={"found": 3})
        case "meta":
            return text(json.dumps(meta))
        case "change":
            more[:] = [] if more else [{"name": "fresh", "inputSchema": NOTHING}]
            say({"method": "notifications/tools/list_changed"})
        case "chatter":
            sys.stdout.write("this is no message\n" * 50)
            say({"method": "notifications/message", "params": {"level": "info", "data": "hello"}})
    return text(f"{name} is done")


def answer(message: dict[str, Any]) -> None:
    method, parameters = message["method"], message.get("params") or {}
    if method == "initialize":
        result: dict[str, Any] = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "rough", "version": "1"},
        }
    elif method == "tools/list":
        result = {"tools": tools()}
    elif method == "ping":
        result = {}
    elif method == "tools/call":
        if parameters["name"] == "sleep":
            threading.Thread(target=later, args=(message,)).start()
            return
        result = call(
            parameters["name"], parameters.get("arguments") or {}, parameters.get("_meta") or {}
        )
    else:
        say({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
        return
    say({"id": message["id"], "result": result})


def later(message: dict[str, Any]) -> None:
    say({"id": message["id"], "result": call("sleep", {}, {})})


def main() -> None:
    sys.stderr.write("rough server: good morning\n")
    sys.stderr.flush()
    if "stubborn" in HOW:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "silent" in HOW:
        time.sleep(600)
    if "rubbish" in HOW:
        while True:
            sys.stdout.write("rubbish " * 100 + "\n")
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            answer(message)
    if "stubborn" in HOW:
        time.sleep(600)


if __name__ == "__main__":
    main()
