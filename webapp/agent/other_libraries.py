"""The names that other agent libraries have for things, and what they are called here."""

from __future__ import annotations

from typing import Final


def _each(sentence: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, sentence)


_ANSWERS = "the type of the answers is output_type=…"
_HISTORY = "what was said before is in the memory, by user_id and session_id"
_CONTEXT = "a tool gets the run's context through a parameter with the type RunContext"
_MODEL = 'that is the model\'s: model=OpenAIModel("…", options={"temperature": 0}, max_retries=2)'
_LOOPS = "the calls to the model in one turn are bounded by Agent(max_loops=…)"

# The parts of an agent.
PARTS: Final = {
    **_each(
        _ANSWERS,
        *(
            "output_schema",
            "response_format",
            "response_model",
            "result_type",
            "structured_outputs",
        ),
    ),
    **_each(
        'what the agent is told is instructions="…"',
        *("backstory", "description", "goal", "prompt", "role", "system", "system_message"),
        *("system_prompt",),
    ),
    **_each('the model is model="…" or model=OpenAIModel("…")', "llm", "model_id", "model_name"),
    **_each(
        "tools of MCP servers are toolkits=[MCPToolkit.stdio(…)] or [MCPToolkit.http(…)]",
        *("mcp_servers", "mcp_tools"),
    ),
    **_each(
        "checks before and after a run are guardrails=[…]",
        *("input_guardrails", "output_guardrails", "post_hooks", "pre_hooks", "validators"),
    ),
    **_each(
        'conversations are kept by memory=SQLiteMemory("chats.db"), for each user',
        *("checkpointer", "db", "session_service", "session_store", "storage"),
    ),
    **_each(_MODEL, "max_retries", "max_tokens", "model_settings", "retries", "temperature"),
    **_each(_LOOPS, "max_iterations", "max_steps", "max_turns", "recursion_limit"),
    **_each("a whole turn is bounded by turn_timeout=…, in seconds", "timeout"),
    **_each(_CONTEXT, "context", "context_type", "dependencies", "deps", "deps_type"),
    **_each(
        "agents work together in a workflow: webapp.workflow",
        *("agents", "handoffs", "members", "sub_agents", "team"),
    ),
}

# The arguments of a run.
ARGUMENTS: Final = {
    **_each(_ANSWERS, *(name for name, told in PARTS.items() if told == _ANSWERS)),
    **_each(_HISTORY, "chat_history", "history", "message_history", "messages"),
    **_each(_CONTEXT, "context", "dependencies", "deps"),
    **_each(_LOOPS, "max_iterations", "max_steps", "max_turns", "recursion_limit"),
    **_each(_MODEL, "max_tokens", "model_settings", "temperature"),
    **_each(
        'a conversation is session_id="…"',
        *("chat_id", "config", "conversation_id", "session", "thread", "thread_id"),
    ),
    **_each("a whole turn is bounded by Agent(turn_timeout=…), in seconds", "timeout"),
    **_each('what was asked is the first argument, or input="…"', "message", "prompt", "question"),
}

_RUN = 'for a whole answer: agent.run("…", user_id="alice")'
_ARUN = 'for a whole answer: await agent.arun("…", user_id="alice")'
_STREAM = (
    'for pieces: agent.stream("…", user_id="alice"), or async for … in agent.astream("…",'
    ' user_id="alice")'
)

# What is asked of an agent.
METHODS: Final = {
    **_each(
        _RUN, "call", "chat", "execute", "generate", "invoke", "kickoff", "predict", "run_sync"
    ),
    **_each(_ARUN, "achat", "ainvoke", "kickoff_async", "run_async"),
    **_each(_STREAM, "astream_events", "iter", "run_stream", "run_stream_events", "run_streamed"),
    **_each(f"{_RUN}.content", "print_response", "cli_app"),
    **_each(
        'tools are given when it is made: toolkits=[Toolkit("name", [function, …])]',
        *("add_tool", "add_tools", "set_tools", "tool", "tool_plain"),
    ),
    **_each("a function that runs the agent can be a tool of another", "as_tool", "to_tool"),
}

# What is asked of a run's output.
OUTPUTS: Final = {
    **_each(
        "the answer of an output_type is output.parsed, its text output.content",
        *("data", "final_output", "output", "result", "structured_output"),
    ),
    **_each("the text is output.content", "answer", "message", "reply", "response", "text"),
    **_each(
        "the messages of this turn are output.messages",
        *("all_messages", "new_items", "new_messages", "to_input_list"),
    ),
}
