"""Who may send requests: keys, rates, concurrency, deadlines."""
