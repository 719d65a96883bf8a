"""A whole run: its stages in order, the keys that decide each of them, and its display."""
