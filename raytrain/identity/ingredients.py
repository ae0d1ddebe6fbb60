"""The ingredients of a result. Every key of the project is made here, of all of them, and nowhere else."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """All that decides a result: equal ingredients, equal results, on one kind of machine."""

    kind: str
    """what is made of them, e.g. "pathway" """
    name: str = ""
    """what it is called, where that decides something: initial weights are drawn by the pathway's name"""
    settings: Mapping[str, Any]
    """by dotted name; those that name a file are in `files`"""
    data: str
    """fingerprint of the data"""
    code: str
    """digest of the modules that decide the result"""
    libraries: Mapping[str, str]
    """package, or `python` -> version, "none" where it is not installed"""
    files: Mapping[str, str] = field(default_factory=dict)
    """setting -> sha256 of what lies in the file that it names"""
    device: str
    """the kind that computes it, e.g. `cpu`"""

    @property
    def key(self) -> str:
        """The key, 64 hex digits."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the ingredients for people, and for the key."""
        return dataclasses.asdict(self)
