"""Sums of requests by minute, hour and day, of each tenant and of everyone."""
