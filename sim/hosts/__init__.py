"""Simulated hosts, each a set of namespaces of this machine, and a wide detector on four of them."""
