"""A circuit breaker round a model: while its server is ill, turns are refused at once."""
