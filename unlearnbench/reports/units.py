"""Numbers as people read them: amounts, sizes, durations."""

from __future__ import annotations

from datetime import UTC, datetime

MISSING = "-"


def amount(number: int | None) -> str:
    """Return a number with thousands marked, from a million on rounded: 14,042, 1.2 M; nothing is a dash."""
    if not number:
        return MISSING
    for scale, letter in ((1e9, "G"), (1e6, "M")):
        if number >= scale:
            return f"{number / scale:,.1f} {letter}"
    return f"{number:,}"


def size(number: int | None) -> str:
    """Return bytes in decimal units: 352.3 MB; nothing is a dash."""
    if not number:
        return MISSING
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number} B"


def duration(seconds: float) -> str:
    """Round a duration as people say it: 42 s, 3 min, 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment(stamp: str) -> str:
    """Return an ISO 8601 time as people write it: 29 November 2026, 12:21 UTC; any other text stays as it is."""
    try:
        when = datetime.fromisoformat(stamp).astimezone(UTC)
    except ValueError:
        return stamp
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def pace(number: int, seconds: float, noun: str) -> str:
    """Return a speed: 3.2 updates/s, and where it is less than one a second 4.1 s/update."""
    if number >= seconds:
        return f"{number / seconds:.1f} {noun}s/s"
    each = seconds / number
    return f"{f'{each:.1f} s' if each < 10 else duration(each)}/{noun}"


def counted(number: int, noun: str) -> str:
    """Return a number of things: 1 job, 3 jobs."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
