"""Stage two: reinforcement learning with verifiable rewards."""
