"""Samples that cannot be used: why, and how that is written down."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal, get_args

Fate = Literal["missing", "damaged", "timed_out"]
"""missing: not there or not to be read, also after a pause; timed_out: not decoded in time, nor alone in
twice the time; damaged: all else"""
LATE = "late"
"""counted of a sample that came at the second try: after a pause, or alone with twice the time"""
FATES: tuple[Fate, ...] = get_args(Fate)


class BadSample(Exception):  # noqa: N818 - it names the sample's fate, no fault of the program
    """A sample that is missing, broken or too slow for good; it goes to quarantine, the run goes on."""

    def __init__(self, reason: str, fate: Fate = "damaged") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fate = fate


@dataclass(frozen=True)
class QuarantineEntry:
    """One line of quarantine.jsonl."""

    key: str
    uri: str
    reason: str
    fate: Fate = "damaged"

    def to_json(self) -> str:
        """Return the entry as one JSON line without the line break."""
        return json.dumps(asdict(self), ensure_ascii=False)


def to_lines(entries: list[QuarantineEntry]) -> bytes:
    """Return the content of a quarantine.jsonl."""
    return "".join(entry.to_json() + "\n" for entry in entries).encode()


def by_fate(fates: Iterable[str]) -> dict[str, int]:
    """Return how many samples met each fate, all of FATES named."""
    counted = Counter(fates)
    return {fate: counted[fate] for fate in FATES}


def in_words(counted: dict[str, int]) -> str:
    """Return e.g. `3 (2 missing, 1 timed out)`, the number alone where it is 0."""
    named = ", ".join(f"{number} {fate.replace('_', ' ')}" for fate, number in counted.items() if number)
    return f"{sum(counted.values())}{f' ({named})' if named else ''}"


def allowed(budget: float, num_samples: int) -> int:
    """Return how many of the samples may be bad before the work stops."""
    return int(budget * num_samples)
