"""From order and manifest to batches: chunks are decoded once and broadcast to every reader."""
