"""The two-stage trainer: oracle chains, distillation, and RL with verifiable rewards."""
