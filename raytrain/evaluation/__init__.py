"""What is measured on frozen encoders: the features file and everything that reads it."""
