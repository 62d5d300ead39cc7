"""The embedded model: SmolLM2-135M-Instruct under llama.cpp, in a child process of its own.

`process` starts and stops the child, `child` is what runs in it, and `keeper` starts it again.
"""

from webapp.local_model.process import EmbeddedModel, unavailable_reason

__all__ = ["EmbeddedModel", "unavailable_reason"]
