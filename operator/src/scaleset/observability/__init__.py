"""Logs, metrics and events of the operator."""
