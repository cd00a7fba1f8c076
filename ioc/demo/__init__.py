"""The demonstration: the main job on simulated sources, watched through the PVs, every byte checked afterwards."""
