"""What kustomize has to know of our kinds: deploy/kustomize/openapi.json."""
