"""Limits on the work that one file may cause; the defaults fit every file of a recorder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecodeLimits:
    """When the decoder stops reading or sampling a file, or gives waiting packets up.

    Attributes:
        max_read_errors: read errors in a row after which reading stops.
        error_bytes: bytes of the file that allow one more read error in a row; at each error,
            demuxers skip 64 KiB or more.
        max_idle_packets: packets without a sample, and packets without content in a row, after
            which reading stops; 1,000,000 are 11 hours at 25 frames per second.
        max_idle_seconds: processor seconds without a sample after which reading stops.
        max_waiting_packets, max_waiting_bytes: packets that wait behind a gap for sound.
        max_undecoded_bytes: bytes of packets that wait until it is known whether a sample needs
            them.
        free_copies: samples of held pictures that every file may give; 5,000 are a slide of
            83 minutes at one sample per second.
        copy_bytes: bytes of the file for each further copy; sound of 8 kbit/s has as many.
        free_pictures: different pictures that every file may give.
        picture_bytes: bytes of the file for each further picture; a coded picture that repeats
            the one before it has as many.
        free_if_reread: free copies and free pictures of a file that reads its bytes again.
    """

    max_read_errors: int = 16
    error_bytes: int = 32 << 10
    max_idle_packets: int = 1_000_000
    max_idle_seconds: float = 600.0
    max_waiting_packets: int = 500
    max_waiting_bytes: int = 32 << 20
    max_undecoded_bytes: int = 32 << 20
    free_copies: int = 5_000
    copy_bytes: int = 1024
    free_pictures: int = 1_000
    picture_bytes: int = 8
    free_if_reread: int = 100


DEFAULT_LIMITS = DecodeLimits()
