"""Recipes: what a training run is made of, checked before it starts."""
