"""The machinery of reconciles: the queue, its workers, the clock, and a loop for a library that needs its own."""
