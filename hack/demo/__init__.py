"""`make demo`: a cluster, the operator, a good image and a bad one, live. Every claim on the screen is checked.

`__main__` begins and ends it, `embedded` and `kind` start and delete cluster and operator, `world` watches and
measures, `story` is what happens, `said` prints it and runs `kubectl scaleset`, whose live view shows the rollouts.
"""
