"""The operator with one mistake in it: `python -m tests.faults.seeded BUG ARGUMENT...`."""
