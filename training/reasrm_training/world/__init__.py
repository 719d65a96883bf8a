"""A generated world of preference tasks whose right verdict is known: pure Python, seeded, the same on every machine."""

from reasrm_training.world.tasks import FAMILIES, LEVELS, WorldTask, generate, split_of

__all__ = ["FAMILIES", "LEVELS", "WorldTask", "generate", "split_of"]
