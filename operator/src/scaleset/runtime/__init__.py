"""What keeps reconciles running: the queue, its workers, the clock, a loop for a library that wants its own."""
