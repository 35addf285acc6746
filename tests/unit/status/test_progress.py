from types import SimpleNamespace

import pytest

from workflow_scripts.lib.frames.progress import Progress as FrameProgress
from workflow_scripts.lib.retrieval.logs import Pace, epoch_line
from workflow_scripts.lib.status.progress import EDGE, error_line, last_line, log_edges, progress


@pytest.fixture
def of_log(tmp_path):
    """Progress of a job of a rule with such a log."""

    def made(rule: str, text: str, epochs: int = 10):
        log = tmp_path / "job.log"
        log.write_text(text, encoding="utf-8")
        return progress(SimpleNamespace(rule=rule, log=str(log), has_log=True), {rule: epochs})

    return made


def test_clips_by_the_lines_of_the_stage_itself(of_log, capsys):
    with FrameProgress(total=30, done=10) as counter:
        for _ in range(5):
            counter.count(failed=False)
        line = counter.line()
    found = of_log("extract_frames", f"10 of 30 videos are done already\n{line}\n")
    assert (found.done, found.total, found.before) == (15, 30, 10)
    assert found.seconds_left(20) == 60
    assert of_log("extract_frames", f"{line}\n").before == 0


def test_frames_by_the_lines_of_the_extraction_of_features(of_log):
    with FrameProgress(total=3000, done=1000, unit="frame") as counter:
        counter.count(more=64)
        line = counter.line()
    found = of_log("extract_video_features", f"1000 of 3000 frames are done already\n{line}\n")
    assert (found.done, found.total, found.before, found.unit) == (1064, 3000, 1000, "frames")
    cut = "cut: 3 of 50 captions are longer than the 77 tokens that the text tower reads\n"
    assert of_log("extract_text_features", cut) is None


def test_epochs_of_retrieval_by_its_own_line(of_log):
    pace = Pace(3, 9, 0.5, 2.0, 0.1).since(Pace())
    line = epoch_line({"epoch": 3, "train_loss": 1.0, "step": 9, "lr": 0.1}, 10, pace, 2.0)
    found = of_log("train_retrieval", f"training on cpu\n{line}\n")
    assert (found.done, found.total, found.before) == (3, 10, 2)  # a first line with epoch 3 goes on behind 2
    assert found.seconds_left(10) == 70


def test_epochs_of_open_clip_train(of_log):
    lines = [f"INFO | Train Epoch: 0 [{seen:>3}/960 (7%)] Data (t): 0.265" for seen in (64, 960)]
    found = of_log("train_clip", "\n".join([*lines, "INFO | Train Epoch: 1 [480/960 (50%)] Data"]), epochs=4)
    assert (found.done, found.total, found.before) == (1.5, 4, 0)
    assert found.seconds_left(30) == 50


def test_epochs_of_the_captioner_with_a_checkpoint(of_log):
    lines = "{'loss': '4.7', 'epoch': '2.125'}\n{'loss': '4.6', 'epoch': '2.5'}\n{'eval_loss': '4', 'epoch': '9'}\n"
    found = of_log("train_captioner_stage2", lines, epochs=3)
    assert (found.done, found.before) == (2.5, 2)
    assert found.seconds_left(8) == 8


@pytest.mark.parametrize("rule", ["extract_frames", "train_clip", "build_report"])
def test_a_log_that_does_not_tell_gives_nothing(of_log, rule):
    assert of_log(rule, "") is None
    assert of_log(rule, "loading\n") is None


def test_nothing_gained_gives_no_time(of_log):
    assert of_log("extract_frames", "10 of 30 videos are done already\n").seconds_left(5) is None


def test_the_edges_of_a_long_log(tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(b"first\n" + b"x" * 5 * EDGE + b"\nlast\n")
    text = log_edges(log)
    assert text.startswith("first\n") and text.endswith("\nlast\n") and len(text) <= 2 * EDGE + 1
    for size in (0, EDGE - 1, EDGE, EDGE + 7, 2 * EDGE):  # nothing is left out or told twice
        log.write_text("".join(str(position % 10) for position in range(size)))
        assert log_edges(log).replace("\n", "") == log.read_text()
    assert log_edges(tmp_path / "none.log") == ""


def test_last_line_and_error_line(tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes("error: 파일이 없다\n10%\r 55%\r 80%\r\n\n".encode())
    assert last_line(log) == "80%"
    assert error_line(log) == "error: 파일이 없다"
    log.write_text("Traceback\nValueError: no\n")
    assert error_line(log) == "ValueError: no"
    log.write_bytes(b"")
    assert last_line(log) == ""
