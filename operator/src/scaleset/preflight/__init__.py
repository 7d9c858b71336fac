"""Dry runs on the API server before a revision is accepted, and before a pod is deleted for a replacement."""
