"""Azure scale sets' health-gated image upgrades, for pods."""

__version__ = "0.1.0"
