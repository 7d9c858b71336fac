"""Courses of whole rollouts: as logs that a person reads, and a change of behaviour is a diff of."""
