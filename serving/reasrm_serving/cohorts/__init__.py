"""Cohorts: the rollouts of one prompt, gathered from many requests and ranked once."""
