"""A training run: its stages, processes, environment and progress."""
