"""The names of OpenTelemetry's conventions for generative AI and HTTP, as far as they are used.

Those for generative AI are still "development" (semantic conventions 1.43): they may change, and
then here alone.
"""

from __future__ import annotations

from urllib.parse import urlsplit

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
AGENT_NAME = "gen_ai.agent.name"
CONVERSATION = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TOOL_NAME = "gen_ai.tool.name"
TOOL_CALL = "gen_ai.tool.call.id"
TOOL_TYPE = "gen_ai.tool.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR = "error.type"
METHOD = "http.request.method"
ROUTE = "http.route"
STATUS = "http.response.status_code"
REQUEST_ID = "switchboard.request.id"

INVOKE_AGENT, CHAT, EXECUTE_TOOL = "invoke_agent", "chat", "execute_tool"
FUNCTION = "function"

# Hosts and their subdomains, as the conventions name who is behind them.
_PROVIDERS = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "services.ai.azure.com": "azure.ai.inference",
    "anthropic.com": "anthropic",
    "amazonaws.com": "aws.bedrock",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "cohere.com": "cohere",
    "cohere.ai": "cohere",
    "deepseek.com": "deepseek",
    "groq.com": "groq",
    "mistral.ai": "mistral_ai",
    "perplexity.ai": "perplexity",
    "x.ai": "x_ai",
}
_OPENAI = "https://api.openai.com/v1"


def provider_of(base_url: str) -> dict[str, str | int]:
    """The attributes of the model's server. Others speak OpenAI's dialect, and are named by it, as
    the conventions have it; the address tells them apart."""
    place = urlsplit(base_url or _OPENAI)
    host = place.hostname or ""
    known = (
        provider
        for suffix, provider in _PROVIDERS.items()
        if host == suffix or host.endswith(f".{suffix}")
    )
    port = place.port or (80 if place.scheme == "http" else 443)
    return {PROVIDER: next(known, "openai"), SERVER_ADDRESS: host, SERVER_PORT: port}
