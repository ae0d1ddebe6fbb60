"""The samples that a result was made without, because they could not be decoded: part of what came out.

A key cannot know which samples will turn out bad. So a result says which it lacks, and is used again only
where just these are still bad: they are decoded anew, and where one of them comes now it is made again.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.stream.source import StreamSource
from raytrain.training.paths import QUARANTINE
from raytrain.training.plan import RunSetup

MOST_NAMED = 1000
"""samples that a kept result may lack: each is decoded before the result is used again"""
SHOWN = 3
Bad = dict[str, str]
"""why a sample could not be decoded: `reason` and `fate`"""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A set of samples by key."""

    num: int = 0
    sha256: str = ""
    """of all keys, sorted, a line each; empty without any"""
    keys: tuple[str, ...] = ()
    """the first MOST_NAMED of them"""

    @classmethod
    def of(cls, keys: Iterable[str]) -> "LeftOut":
        """Return the set of some keys."""
        ordered = sorted(set(keys))
        digest = hashlib.sha256("".join(f"{key}\n" for key in ordered).encode()).hexdigest()
        return cls(num=len(ordered), sha256=digest if ordered else "", keys=tuple(ordered[:MOST_NAMED]))

    @classmethod
    def from_json(cls, values: dict[str, Any] | None) -> "LeftOut":
        """Return what `to_json` wrote; None: no sample."""
        return cls(**{**values, "keys": tuple(values["keys"])}) if values else cls()

    def to_json(self) -> dict[str, Any]:
        """Return the set as JSON values."""
        return {"num": self.num, "sha256": self.sha256, "keys": list(self.keys)}

    @property
    def is_named(self) -> bool:
        """Whether all of them are named."""
        return self.num == len(self.keys)

    @property
    def text(self) -> str:
        """E.g. `without 2 samples that could not be decoded: a, b`; empty without any."""
        if not self.num:
            return ""
        more = ", ..." if self.num > SHOWN else ""
        named = ", ".join(self.keys[:SHOWN]) + more
        return f"without {self.num} sample{'s' * (self.num > 1)} that could not be decoded: {named}"


def left_out_of_training(setup: RunSetup) -> LeftOut:
    """Return the training samples that this run has quarantined so far."""
    path = setup.folder / QUARANTINE
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    bad = {json.loads(line)["key"] for line in lines if line.endswith("\n")}
    if not bad:
        return LeftOut()
    assert setup.manifest is not None
    trained = np.intersect1d(setup.manifest.rows_of(bad), setup.manifest.indices("pretrain"))
    return LeftOut.of(setup.manifest.keys_of(trained))


def found_bad(source: StreamSource, keys: Collection[str]) -> dict[str, Bad]:
    """Decode some samples now; return why, of those that still cannot be, by key."""
    rows = source.manifest.rows_of(keys)
    if not len(rows):
        return {}
    chunk = source.decode_rows(rows)
    return {entry["key"]: {"reason": entry["reason"], "fate": entry["fate"]} for entry in chunk.quarantined}


def add_to_quarantine(setup: RunSetup, bad: dict[str, Bad]) -> None:
    """Name samples in quarantine.jsonl that are not there yet."""
    path = setup.folder / QUARANTINE
    known = (
        {json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()}
        if path.exists()
        else set()
    )
    with path.open("a", encoding="utf-8") as file:
        for key in sorted(bad.keys() - known):
            file.write(json.dumps({"key": key, **bad[key]}) + "\n")
