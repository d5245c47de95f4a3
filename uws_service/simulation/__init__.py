"""A network of sites in simulated time, on the functions by which real jobs are placed."""
