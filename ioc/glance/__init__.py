"""How a running system is, at one glance: one table, and one word for all of it."""
