"""What the embedded judge is for: a rule in its own folder says which pairs are, and all others get no verdict."""

from __future__ import annotations

from pathlib import Path

from reasrm_serving.fresh import Domain


def load_domain(folder: Path) -> Domain | None:
    """The rule of the model in `folder`; None where it has none, and judges everything."""
    return None
