"""Models: loading, making one from nothing, choosing devices."""
