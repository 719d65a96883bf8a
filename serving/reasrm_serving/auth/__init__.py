"""Limits on callers: keys, rates, concurrency, deadlines."""
