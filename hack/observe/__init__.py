"""`make observe`: a fleet with rollouts, good and bad, and a real Prometheus with our rules and consoles beside it."""
