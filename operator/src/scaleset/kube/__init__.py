"""The Kubernetes client: raw JSON, preconditions on every write, caches with a known age."""
