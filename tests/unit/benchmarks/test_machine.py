from benchmarks.machine import Sharing, result_head


def test_a_result_begins_with_what_it_was_measured_on():
    with Sharing() as sharing:
        sum(range(1000))
    head = result_head(("numpy", "no-such-package"), sharing)
    assert set(head["packages"]) == {"numpy"} and head["machine"]["cpus"] >= 1
    assert 0 <= head["others_share_of_processors"] <= 1 and head["load_average_at_end"] >= 0
