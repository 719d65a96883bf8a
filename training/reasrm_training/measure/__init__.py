"""Measuring a judge: evaluation, probes, and the sampling under them."""
