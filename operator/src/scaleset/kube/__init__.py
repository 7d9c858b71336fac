"""How we talk to the API server: raw JSON, preconditions on every write, caches that know how fresh they are."""
