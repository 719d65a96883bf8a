"""Recipes: the settings of a training run, checked before it starts."""
