import pytest

from workflow_scripts.lib.plan.fit import Line, fit


def test_one_pilot_counts_everything_per_item():
    line = fit([[(10, 25), (30, 55)]])
    assert line == Line(0, 2) and line.at(100) == 200


def test_two_pilots_tell_the_start_of_a_job_from_its_work():
    line = fit([[(10, 25)], [(30, 65), (30, 65)]])  # 5 + 2 an item
    assert (line.fixed, line.per_item) == (pytest.approx(5), pytest.approx(2))
    assert line.at(1000) == pytest.approx(2005)


def test_pilots_of_nearly_the_same_size_tell_no_start():
    assert fit([[(100, 210)], [(101, 190)]]).fixed == 0  # a line through these would fall


def test_a_larger_pilot_that_took_no_longer_is_all_start():
    assert fit([[(10, 6)], [(30, 4)]]) == Line(5, 0)


def test_work_that_grows_faster_than_the_items_has_no_negative_start():
    assert fit([[(10, 10)], [(30, 90)]]) == Line(0, 2.5)


@pytest.mark.parametrize("pilots", [[], [[]], [[(0, 7)]]])
def test_nothing_to_go_by_is_no_line(pilots):
    assert fit(pilots) is None
