"""The embedded model: SmolLM2-135M-Instruct under llama.cpp, in a child process of its own.

`process` starts and stops the child; `server` is what runs in it, and `transcript` how a
conversation is put to the model there.
"""

from webapp.local_model.process import EmbeddedModel, unavailable_reason

__all__ = ["EmbeddedModel", "unavailable_reason"]
