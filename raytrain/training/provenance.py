"""By which key each pathway of a run folder was begun: one that went on under another is nobody's result.

A run that is taken up again after its code or a library has changed goes on; what it then holds was made
partly of one and partly of the other, and is kept under no key.
"""

import json
from contextlib import suppress
from pathlib import Path

from raytrain.checkpoint import latest_step
from raytrain.identity import Identity
from raytrain.training.paths import KEYS, STANDARDISERS
from raytrain.training.plan import RunSetup
from raytrain.training.run_folder import write_atomic

MIXED = "mixed"


def begin(setup: RunSetup) -> None:
    """Note the key of each pathway that has no step yet, and those whose key changed on the way."""
    former = _read(setup.folder)
    for name in setup.config.pathways:
        key = setup.identity.pathway(name).key
        begun = latest_step(setup.checkpoints(name)) is not None
        former[name] = key if not begun or former.get(name) == key else MIXED
    _write(setup.folder, former)


def loaded(setup: RunSetup, name: str) -> None:
    """Note that a pathway's checkpoint came from the cache, whole."""
    _write(setup.folder, _read(setup.folder) | {name: setup.identity.pathway(name).key})


def is_of_one_key(setup: RunSetup, name: str) -> bool:
    """Return whether all steps of a pathway were made by what its key says now."""
    return _read(setup.folder).get(name) == setup.identity.pathway(name).key


def standardisers_are_of(folder: Path, identity: Identity) -> bool:
    """Return whether the standardisers of a run folder were estimated as they would be now."""
    return _read(folder).get(STANDARDISERS) == identity.standardisers().key


def standardised(folder: Path, identity: Identity) -> None:
    """Note how the standardisers of a run folder were estimated."""
    _write(folder, _read(folder) | {STANDARDISERS: identity.standardisers().key})


def _read(folder: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found: dict[str, str] = json.loads((folder / KEYS).read_text(encoding="utf-8"))
        return found
    return {}


def _write(folder: Path, keys: dict[str, str]) -> None:
    write_atomic(folder / KEYS, json.dumps(keys, indent=1))
