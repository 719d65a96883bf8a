"""A whole run: its stages in order, what decides each of them, and what a person sees of it."""
