"""Reward functions for RL frameworks, which ask a gateway: `trl`, `verl`, `slime`. `compose` shapes any rewards."""
