"""A run on more machines than one, by dask.distributed: who plays what, and how nothing is lost or counted twice."""
