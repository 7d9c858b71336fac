"""One reconcile per kind: observe, decide, act."""
