"""Where frames go: disk, ZMQ and HDF5 stages."""
