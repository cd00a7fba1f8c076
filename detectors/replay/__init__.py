"""Sends recorded data again: as UDP packets, as module or image streams, or as an NTNDArray PV."""
