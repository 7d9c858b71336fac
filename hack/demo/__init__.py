"""`make demo`: a cluster, the operator, a good image and a bad one, live. Every claim on the screen is checked.

`__main__` begins and ends it, `embedded` starts and deletes cluster and operator, `world` watches and measures, `story`
is what happens, `journal`, `view` and `screen` are what is seen of it.
"""
