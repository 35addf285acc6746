"""The frames that show a moment."""

import pytest

from workflow_scripts.lib.frames.moments import frames_in_moment

TIMES = [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]


@pytest.mark.parametrize(
    ("moment", "count", "expected"),
    [
        ((2.0, 5.0), 10, [2, 3, 4]),
        ((2.0, 5.0), 1, [3]),
        ((None, None), 4, [1, 3, 5, 7]),
        ((4.0, None), 2, [5, 7]),
        ((None, 1.5), 5, [0, 1]),
        ((2.6, 2.9), 3, [2]),
        ((99.0, 100.0), 3, [7]),
    ],
)
def test_frames_lie_inside_in_order_and_spread(moment, count, expected):
    assert frames_in_moment(TIMES, *moment, count) == expected


def test_video_without_frames_is_refused():
    with pytest.raises(ValueError, match="without frames"):
        frames_in_moment([], 0, 1, 2)
