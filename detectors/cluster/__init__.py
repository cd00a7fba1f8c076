"""Work on recorded data in many processes: in this one, in some of this machine, or on a Dask cluster."""
