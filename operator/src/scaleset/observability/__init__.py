"""What others can see of the operator: logs, metrics, events."""
