"""How far a judge can be believed, in RealBehavior's four senses (arXiv 2310.11227)."""

from reasrm.audit.findings import Finding, as_data, plot, table
from reasrm.audit.run import audit

__all__ = ["Finding", "as_data", "audit", "plot", "table"]
