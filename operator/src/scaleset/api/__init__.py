"""The three custom resources: their shape, their defaults, and the CRDs that are generated from them."""
