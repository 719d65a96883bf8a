"""The engines behind the gateway: a pool of members, their clients, the embedded engine, sglang-router."""
