"""HTTP to the model's server: connections, time, retries; nothing of what models say."""
