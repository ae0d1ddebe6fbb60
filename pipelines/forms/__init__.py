"""What samples, chunks, clips and recordings are, and their random draws: plain data, nothing is opened."""
