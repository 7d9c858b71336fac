"""The judge: whether a recorded trace keeps the promises S1 to S13, by pods, claims, specs and the audit log alone."""

from .check import PROMISES, RULES, Settings, violations

__all__ = ["PROMISES", "RULES", "Settings", "violations"]
