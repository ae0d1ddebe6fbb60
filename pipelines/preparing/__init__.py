"""`raytrain prepare` and `raytrain inspect`: every sample opened once."""
