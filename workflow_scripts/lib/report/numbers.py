"""Numbers as people read them; None and NaN become a dash."""

import math
from collections.abc import Callable
from functools import wraps

DASH = "–"


def _or_dash(form: Callable[[float], str]) -> Callable[[float | None], str]:
    @wraps(form)
    def formed(value: float | None) -> str:
        return DASH if value is None or not math.isfinite(value) else form(value)

    return formed


@_or_dash
def percent(value: float) -> str:
    """12.345 -> 12.3%."""
    return f"{value:.1f}%"


@_or_dash
def one_decimal(value: float) -> str:
    """1234.56 -> 1,234.6."""
    return f"{value:,.1f}"


@_or_dash
def cosine(value: float) -> str:
    """0.12345 -> 0.123."""
    return f"{value:.3f}"


@_or_dash
def count(value: float) -> str:
    """1234 -> 1,234."""
    return f"{value:,.0f}"


@_or_dash
def number(value: float) -> str:
    """A whole number as a count, any other with one decimal."""
    return count(value) if float(value).is_integer() else one_decimal(value)


@_or_dash
def duration(seconds: float) -> str:
    """4.25 -> 4.2 s, 200 -> 3 min 20 s, 7500 -> 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 59.95 else "1 min 00 s"
    if seconds < 3600 - 0.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {rest:02d} min"


@_or_dash
def memory(mib: float) -> str:
    """512.3 -> 512 MiB, 2048 -> 2.0 GiB."""
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:,.1f} GiB"


@_or_dash
def size(count: float) -> str:
    """Bytes in the unit that suits them: 512 -> 512 B, 1500 -> 1.5 kB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


def interval(ends: list[float] | None, form: Callable[[float | None], str]) -> str | None:
    """`64.5–71.8`, or `-0.2 to 0.1`; None where it is not known, and where nothing is left of it after rounding."""
    low, high = (form(end).removesuffix("%") for end in ends or (None, None))
    between = " to " if low.startswith("-") else "–"
    return f"{low}{between}{high}" if low != high else None


FILTERS = {
    form.__name__: form for form in (percent, one_decimal, cosine, count, number, duration, memory, size)
}
