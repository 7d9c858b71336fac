"""Pure decisions: no I/O, no clock, no randomness, no logging. `decide.decide(snapshot)` is the only entry point."""
