"""A generated world of preference tasks whose truth is known: pure Python, seeded, the same everywhere."""

from reasrm_training.world.tasks import FAMILIES, LEVELS, WorldTask, generate, split_of

__all__ = ["FAMILIES", "LEVELS", "WorldTask", "generate", "split_of"]
