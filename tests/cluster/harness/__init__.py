"""What the cluster tests stand on: a real API server, the operator as a process, and a record of the world of its own.

Nothing here imports the operator: a mistake in its client or its models must not be able to hide itself.
"""
