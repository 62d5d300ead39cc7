"""What Redis keeps: the limiter's counters."""
