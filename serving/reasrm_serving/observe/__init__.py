"""The observable state of a running gateway: metrics and the latest judgments."""
