"""The operator with ten thousand pods, measured: `make test-scale`, docs/scale.md."""
