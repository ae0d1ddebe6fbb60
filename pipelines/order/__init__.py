"""Which sample stands where in an epoch, and where batches end: pure functions of numbers."""
