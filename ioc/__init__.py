"""The soft-IOC and the command line. The only place that imports softioc."""
