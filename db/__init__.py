"""EPICS database templates: the source of truth for every record. No code."""
