"""One process each, runnable alone."""
