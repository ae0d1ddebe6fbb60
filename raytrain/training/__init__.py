"""Training of all pathways of a run, through Ray (`experiment`, `worker`) or in one process (`inline`)."""
