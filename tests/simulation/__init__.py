"""A ScaleSet without a cluster: pods that start, fail and vanish, and the real `decide()` between them."""
