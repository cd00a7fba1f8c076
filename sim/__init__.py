"""Simulated sources: UDP modules, cameras and timing, so that everything runs without hardware."""
