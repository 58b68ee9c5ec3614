"""A Dask batch system for large archives of HEp-2 immunofluorescence images."""
