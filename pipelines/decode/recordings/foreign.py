"""Formats of recordings that are known and not read: what they are, and how to convert them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_ARRAYS = "numpy.savez(name, x=x, y=y, t=t, p=p)"


@dataclass(frozen=True)
class Foreign:
    """A format that is not read."""

    suffixes: tuple[str, ...]
    begins: re.Pattern[bytes]
    """what its files begin with"""
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}"


FORMATS = (
    Foreign(
        (".raw",),
        re.compile(rb"(%[^\n]*\n)*% *(evt \d|format EVT)"),
        "a raw stream of a Prophesee camera",
        "make .h5 files of it by metavision_file_to_hdf5, or .dat files by metavision_file_to_dat",
    ),
    Foreign(
        (".bag",),
        re.compile(rb"#ROSBAG V"),
        "a bag of ROS",
        f"read its events with the package rosbags and save them by {_ARRAYS}",
    ),
    Foreign(
        (".db3", ".mcap"),
        re.compile(rb"\x89MCAP|SQLite format 3"),
        "a bag of ROS 2",
        f"read its events with the package rosbags and save them by {_ARRAYS}",
    ),
    Foreign(
        (".mat",),
        re.compile(rb"MATLAB [57]"),
        "a file of MATLAB",
        f"read it with scipy.io.loadmat and save its columns by {_ARRAYS}",
    ),
    Foreign(
        (".es",),
        re.compile(rb"Event Stream"),
        "an Event Stream file",
        f"read it with the package event_stream and save its columns by {_ARRAYS}",
    ),
    Foreign(
        (".txt",),
        re.compile(rb"(#[^\n]*\n)*\s*[-+]?\d[\d.e+-]*[ ,;\t]+[-+]?\d[\d.e+-]*[ ,;\t]+\d"),
        "a text of numbers",
        f"read it with numpy.loadtxt and save its columns by {_ARRAYS}",
    ),
)


def by_content(data: bytes) -> Foreign | None:
    """Return the format that a file of these bytes has; None: none of these."""
    head = data[:4096]
    return next((known for known in FORMATS if known.begins.match(head)), None)


def by_suffix(suffixes: Iterable[str]) -> Foreign | None:
    """Return the first of the formats that files with such suffixes have; None: none of these."""
    there = set(suffixes)
    return next((known for known in FORMATS if there.intersection(known.suffixes)), None)
