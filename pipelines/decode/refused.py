"""A decoder that cannot take a file, where another one may."""


class RefusedError(Exception):
    """The decoder does not read this clip right, or not at all; the message says why."""
