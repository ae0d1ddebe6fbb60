"""`python -m raytrain`."""

from raytrain.cli import main

raise SystemExit(main())
