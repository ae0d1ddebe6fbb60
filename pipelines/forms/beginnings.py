"""What lies in place of a sample: told by the first bytes, so that the message names the cause."""

_KNOWN = (
    (b"version https://git-lfs", "it is a pointer of Git LFS, fetch the file by git lfs pull"),
    (b"/annex/objects/", "it is a pointer of git-annex, fetch the file by git annex get"),
    (b"<!doctype html", "it is a web page, download the file again"),
    (b"<html", "it is a web page, download the file again"),
)
_SHORT = ((b"%PDF", "it is a PDF"), (b"\x1f\x8b\x08", "it is gzipped, unpack it"))
"""which numbers may begin with by chance: said where nothing else can be made of the file"""


def stands_for(data: bytes) -> str:
    """Return what lies in place of a sample; empty: nothing that is known."""
    head = data[:64].lstrip().lower()
    return next((what for begins, what in _KNOWN if head.startswith(begins)), "")


def beginning(data: bytes) -> str:
    """Return what the first bytes of a file that cannot be read say of it, else these bytes."""
    short = next((what for begins, what in _SHORT if data.startswith(begins)), "")
    return stands_for(data) or short or f"begins with {data[:8]!r}"
