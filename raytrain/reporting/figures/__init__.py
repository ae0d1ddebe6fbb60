"""Figures of a run, one idea a file; each is drawn once and readable on light and on dark ground."""
