"""Samples that cannot be used: why, and how that is written down."""

import json
from dataclasses import dataclass


class BadSample(Exception):  # noqa: N818 - it names the sample's fate, no fault of the program
    """A sample that is missing or broken for good; it goes to quarantine, the run goes on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class QuarantineEntry:
    """One line of quarantine.jsonl."""

    key: str
    uri: str
    reason: str

    def to_json(self) -> str:
        """Return the entry as one JSON line without the line break."""
        return json.dumps({"key": self.key, "uri": self.uri, "reason": self.reason}, ensure_ascii=False)


def to_lines(entries: list[QuarantineEntry]) -> bytes:
    """Return the content of a quarantine.jsonl."""
    return "".join(entry.to_json() + "\n" for entry in entries).encode()


def allowed(budget: float, num_samples: int) -> int:
    """Return how many of the samples may be bad before the work stops."""
    return int(budget * num_samples)
