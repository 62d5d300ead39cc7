"""Chat completions as model servers really speak them; no HTTP, no agent and no state of a turn."""
