"""HDF5 files in the documented layout: copied, compressed, as a view of the buffer, or while images come in."""
