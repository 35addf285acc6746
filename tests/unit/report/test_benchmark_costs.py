import pytest

from tests.unit.report.fake_run import HEADER
from workflow_scripts.lib.report.benchmarks import rule_costs


def write(folder, name, *rows, header=HEADER):
    file = folder / f"{name}.tsv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def costs_of(folder, shards=2):
    return rule_costs(folder, {"extract_features", "train", "short", "mixed", "old", "new", "killed"}, shards)


def test_files_of_other_rules_and_of_more_shards_are_passed_over(tmp_path):
    row = "3\t0:00:03\t70\t1\t1\t1\t1\t1\t90\t2"
    for name in ("train", "rule_that_is_off", "mixed/001", "mixed/002"):
        write(tmp_path, name, row)
    assert {cost.rule: cost.jobs for cost in costs_of(tmp_path)} == {"train": 1, "mixed": 1}


def test_jobs_of_a_rule_are_summed_and_the_largest_memory_counts(tmp_path):
    write(
        tmp_path,
        "extract_features/results/demo/features/clip/000",
        "10.5\t0:00:10\t900.5\t1\t1\t1\t1\t1\t90\t9.5",
    )
    write(
        tmp_path,
        "extract_features/results/demo/features/clip/001",
        "2.0\t0:00:02\t1200\t1\t1\t1\t1\t1\t90\t1.5",
    )
    write(tmp_path, "train", "100\t0:01:40\t50\t1\t1\t1\t1\t1\t90\t180")
    first, second = costs_of(tmp_path)
    assert (first.rule, first.jobs, first.seconds, first.cpu_seconds, first.peak_mib) == (
        "train",
        1,
        100,
        180,
        50,
    )
    assert (second.rule, second.jobs) == ("extract_features", 2)
    assert (second.seconds, second.cpu_seconds, second.peak_mib) == (12.5, 11.0, 1200)


@pytest.mark.parametrize("nothing", ["-", "NA", ""])
def test_what_was_not_measured_is_none_and_does_not_spoil_the_sum(tmp_path, nothing):
    unmeasured = "\t".join(["0.4", "0:00:00", *[nothing] * 8])
    write(tmp_path, "short", unmeasured)
    write(tmp_path, "mixed/000", unmeasured)
    write(tmp_path, "mixed/001", "3\t0:00:03\t70\t1\t1\t1\t1\t1\t90\t2")
    mixed, short = costs_of(tmp_path)
    assert (short.seconds, short.cpu_seconds, short.peak_mib) == (0.4, None, None)
    assert (mixed.seconds, mixed.cpu_seconds, mixed.peak_mib) == (3.4, 2.0, 70.0)


def test_cpu_time_is_what_the_log_tells(tmp_path):
    """Snakemake's samples miss the end of a job."""
    folder, log = tmp_path / "benchmarks-out/demo", tmp_path / "logs/demo/mixed/000.log"
    for name in ("mixed/000", "mixed/001"):
        write(folder, name, "30\t0:00:30\t70\t1\t1\t1\t1\t1\t90\t2")
    log.parent.mkdir(parents=True)
    log.write_text("working\nCPU time: 40.50 s\nCPU time: 1.50 s\n")  # of two nodes
    (mixed,) = costs_of(folder)
    assert mixed.cpu_seconds == 44


def test_columns_of_other_snakemake_versions(tmp_path):
    write(tmp_path, "old", "3\t0:00:03\t70", header="s\th:m:s\tmax_rss")
    write(tmp_path, "new", "4\t0:00:04\tjob\t80\t2.5", header="s\th:m:s\tjobid\tmax_rss\tcpu_time")
    new, old = costs_of(tmp_path)
    assert (old.seconds, old.cpu_seconds, old.peak_mib) == (3, None, 70)
    assert (new.seconds, new.cpu_seconds, new.peak_mib) == (4, 2.5, 80)


def test_an_empty_file_is_left_out_and_said(tmp_path, capsys):
    (tmp_path / "killed.tsv").touch()
    assert costs_of(tmp_path) == []
    assert "killed.tsv: empty" in capsys.readouterr().out


def test_no_folder_no_rules(tmp_path):
    assert costs_of(tmp_path / "nowhere") == []
