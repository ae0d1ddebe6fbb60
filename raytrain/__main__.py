"""`raytrain` and `python -m raytrain`: looks for modules in the way before any library is imported."""

import sys

from raytrain.shadowing import find_shadow


def main() -> int:
    """Run the command line; returns the exit code."""
    shadow = find_shadow()
    if shadow is not None:
        wrong, right = shadow
        sys.stderr.write(
            f"raytrain: {wrong} would be imported instead of {right}; rename it, or run in another folder\n"
        )
        return 2
    from raytrain.cli import main as run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
