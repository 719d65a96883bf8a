"""The engines behind the gateway: a pool of members, their clients, engines and sglang-router as child processes."""
