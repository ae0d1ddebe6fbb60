"""The tables and the figure of the decomposed-encoder paper as commands, on any data set and at any scale."""
