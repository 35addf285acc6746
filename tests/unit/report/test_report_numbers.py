import math

import pytest

from workflow_scripts.lib.report import numbers


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (numbers.percent, 12.345, "12.3%"),
        (numbers.percent, 0, "0.0%"),
        (numbers.count, 1234567, "1,234,567"),
        (numbers.one_decimal, 1234.56, "1,234.6"),
        (numbers.cosine, 0.12345, "0.123"),
        (numbers.number, 3.0, "3"),
        (numbers.number, 48.5, "48.5"),
        (numbers.duration, 4.25, "4.2 s"),
        (numbers.duration, 59.97, "1 min 00 s"),
        (numbers.duration, 119.7, "2 min 00 s"),
        (numbers.duration, 3599.8, "1 h 00 min"),
        (numbers.duration, 7500, "2 h 05 min"),
        (numbers.memory, 512.3, "512 MiB"),
        (numbers.memory, 2048, "2.0 GiB"),
        (numbers.size, 512, "512 B"),
        (numbers.size, 999.9, "1 kB"),
        (numbers.size, 1.5e9, "1.5 GB"),
        (numbers.size, 2.5e15, "2,500 TB"),
    ],
)
def test_numbers(form, value, text):
    assert form(value) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [([64.51, 71.8], "64.5–71.8"), ([-0.2, 0.1], "-0.2 to 0.1"), ([99.96, 100.0], None), (None, None)],
)
def test_an_interval(ends, text):
    assert numbers.interval(ends, numbers.percent) == text


@pytest.mark.parametrize("form", numbers.FILTERS.values())
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_known_is_a_dash(form, value):
    assert form(value) == numbers.DASH
