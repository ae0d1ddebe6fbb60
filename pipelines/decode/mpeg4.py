"""How many pictures a packet of MPEG-4 part 2 (Xvid, DivX) holds, read from its headers.

Files of DivX's time pack two pictures into one packet and follow it by an empty one, or leave packets without
a picture: their number of packets is not their number of frames.
Source: ISO/IEC 14496-2, sections 6.2.3 (video object layer) and 6.2.5 (video object plane).
"""

from dataclasses import dataclass

_PLANE = b"\x00\x00\x01\xb6"
_BIDIRECTIONAL = 2


@dataclass(frozen=True)
class Pictures:
    """What a packet holds."""

    coded: int
    """pictures that become frames"""
    bidirectional: bool
    """one of them refers to a later one: frames come out in another order than packets"""


class PictureReader:
    """Counts pictures, packet by packet, with the clock that the stream's last layer header names."""

    def __init__(self, extradata: bytes) -> None:
        self._clock_bits = 0
        self._read_layer(extradata)

    def __call__(self, packet: bytes) -> Pictures:
        """Return what a packet holds."""
        self._read_layer(packet)
        coded, bidirectional = 0, False
        start = packet.find(_PLANE)
        while start >= 0:
            bits = _Bits(packet[start + 4 : start + 64])
            kind = bits.take(2)
            if self._is_coded(bits):
                coded += 1
                bidirectional |= kind == _BIDIRECTIONAL
            start = packet.find(_PLANE, start + 4)
        return Pictures(coded, bidirectional)

    def _is_coded(self, bits: "_Bits") -> bool:
        if not self._clock_bits:
            return True
        while bits.take(1) and bits.left:  # whole seconds since the last synchronisation
            pass
        bits.take(1 + self._clock_bits + 1)  # marker, ticks, marker
        return not bits.left or bool(bits.take(1))

    def _read_layer(self, data: bytes) -> None:
        start = data.find(b"\x00\x00\x01")
        while start >= 0 and start + 3 < len(data):
            if 0x20 <= data[start + 3] <= 0x2F:
                self._clock_bits = _clock_bits(_Bits(data[start + 4 : start + 64]))
            start = data.find(b"\x00\x00\x01", start + 3)


def _clock_bits(bits: "_Bits") -> int:
    """Return how many bits the ticks of a picture take, from a layer header; 0 where it cannot be told."""
    bits.take(1 + 8)  # random access, type
    version = 1
    if bits.take(1):
        version = bits.take(4)
        bits.take(3)
    if bits.take(4) == 15:  # aspect ratio written out
        bits.take(16)
    if bits.take(1):
        bits.take(2 + 1)  # chroma, low delay
        if bits.take(1):
            bits.take(79)  # buffer model
    shape = bits.take(2)
    if shape == 3 and version != 1:
        bits.take(4)
    bits.take(1)
    ticks_a_second = bits.take(16)
    return max(1, (ticks_a_second - 1).bit_length()) if bits.left and ticks_a_second else 0


class _Bits:
    """Reads a few bits from the front of some bytes; zeros after their end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self.left = 8 * len(data)

    def take(self, count: int) -> int:
        self.left = max(0, self.left - count)
        return (self._value >> self.left) & ((1 << count) - 1)
