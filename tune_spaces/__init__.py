"""Tune studies, one module each; they come with the sweeps."""
