"""The quality of preference data: how strongly each pair is preferred, and the cleaning of weak, wrong and repeated pairs."""

from reasrm.quality.clean import Action, Rules, clean
from reasrm.quality.strength import Repeated, Strength, kept_from, strengths

__all__ = ["Action", "Repeated", "Rules", "Strength", "clean", "kept_from", "strengths"]
