"""What people and Prometheus see of a running gateway: metrics and the latest judgments."""
