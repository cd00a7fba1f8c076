"""The data path: sources, pools, assembly, buffer and outputs. Knows nothing of records."""
