"""The kind cluster, the operator as Helm installs it, and the traffic of a client. What records and checks is that of
tests/cluster.
"""
