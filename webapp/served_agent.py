"""Builds the served agent from the settings and the console's configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from webapp.agent import Agent, Model, Toolkit
from webapp.agent.breaker.breaker import Breaker
from webapp.agent.breaker.guarded_model import GuardedModel
from webapp.agent.live_tools import LiveToolkit, close_all, is_live
from webapp.chat.configuration import AgentConfiguration
from webapp.errors import ConfigurationError
from webapp.extensions import Extensions
from webapp.settings import Settings

if TYPE_CHECKING:
    from webapp.agent.openai_model import OpenAIModel

EMBEDDED_MODEL = "smollm2-135m-instruct"


class ServedAgent:
    """Makes an agent of a configuration.

    The client of the model's server is made for the first: a command that runs no turn needs
    neither its slow import nor a key. All agents share it. A `model` that is handed in replaces
    every model, and is its maker's to close. The `breaker` is round whichever of them answers.
    """

    def __init__(
        self, settings: Settings, extensions: Callable[[], Extensions], model: Model | None
    ) -> None:
        self._settings = settings
        self._extensions = extensions
        self._given = model
        self._own: OpenAIModel | None = None
        self._asked: str | None = None
        self._began = False  # whether there is an agent, whose turns may have connected toolkits
        self.breaker = Breaker(settings.model_breaker_failures, settings.model_breaker_pause)

    @property
    def original(self) -> AgentConfiguration:
        """The configuration from the settings, in force until an operator changes it."""
        settings = self._settings
        return AgentConfiguration(
            name=settings.agent_name,
            model=settings.model,
            instructions=settings.instructions,
            context_max_messages=settings.context_max_messages,
            max_loops=settings.max_loops,
        )

    @property
    def toolkits(self) -> tuple[Toolkit | LiveToolkit, ...]:
        """Those that the model is told of: none for the embedded one, unless the settings say so.

        It is too small to call tools, and descriptions confuse it.
        """
        settings = self._settings
        told = settings.tools == "on" or (
            settings.tools != "off" and settings.model != EMBEDDED_MODEL
        )
        return self._extensions().toolkits if told else ()

    def build(self, configuration: AgentConfiguration) -> Agent:
        """Raises `ConfigurationError`."""
        self._began = True
        return Agent(
            name=configuration.name,
            model=self._guarded(configuration.model),
            instructions=configuration.instructions,
            toolkits=self.toolkits,
            guardrails=self._extensions().guardrails,
            max_loops=configuration.max_loops,
            context_max_messages=configuration.context_max_messages,
            context_max_tokens=self._settings.context_max_tokens,
            summarize=self._settings.summary,
            turn_timeout=self._settings.turn_seconds,
            tool_timeout=self._settings.tool_timeout,
            tool_result_max_chars=self._settings.tool_result_max_chars,
        )

    def connect(self) -> None:
        """Begins to connect to what the toolkits need, and waits for nothing."""
        for kit in self.toolkits:
            if is_live(kit):
                kit.start()

    def close(self) -> None:
        """Closes the connections to the model's server, and those of the toolkits."""
        if self._own is not None:
            self._own.close()
        if self._began:
            close_all(self.toolkits)

    def _guarded(self, name: str) -> Model:
        if self._asked not in (None, name):
            self.breaker.start_over()
        self._asked = name
        settings = self._settings
        return GuardedModel(
            self._given or self._named(name),
            self.breaker,
            fair_seconds=min(settings.model_timeout, settings.turn_seconds) / 2,
        )

    def _named(self, name: str) -> Model:
        if self._own is None:
            self._own = openai_model(self._settings)
        return self._own.named(name)


def openai_model(settings: Settings) -> OpenAIModel:
    """The model that the settings name; `ConfigurationError` when they name no server."""
    from webapp.agent.openai_model import OpenAIModel

    if not settings.openai_api_key and not settings.openai_base_url:
        raise ConfigurationError(
            "There is no model: set OPENAI_API_KEY, or OPENAI_BASE_URL for another server."
        )
    return OpenAIModel(
        settings.model,
        # A server of one's own often wants no key, but the client insists on some text.
        api_key=settings.openai_api_key or "none",
        base_url=settings.openai_base_url or None,
        timeout=settings.model_timeout,
        max_retries=settings.model_max_retries,
        tools_required=settings.tools == "on",
        # It overlooks `response_format`; see local_model/child.py.
        llama_cpp=settings.model == EMBEDDED_MODEL,
    )
