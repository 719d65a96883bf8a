"""The training loop that both stages share: its arguments, its checkpoints and its numbers."""
