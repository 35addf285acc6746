"""Progress is a bar on a terminal and a few lines in a log."""

import io
import re
import sys
import time
from itertools import pairwise

from workflow_scripts.lib.frames.progress import Progress
from workflow_scripts.lib.status.progress import COUNTED


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(monkeypatch, clips=1000, seconds_each=1.0, done=0):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Progress(clips + done, done) as progress:
        for number in range(clips):
            clock[0] += seconds_each
            if number == 3:
                progress.say("vid_3 failed: 영상.mp4")
            progress.count(failed=number == 3)


def test_lines_in_a_log_become_rarer(monkeypatch, capsys):
    run(monkeypatch, done=500)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "vid_3 failed: 영상.mp4"
    assert lines[1] == "510 of 1500 videos, 1 failed, 1.0 clips/s, 16 min 30 s left"
    assert lines[-1] == "1500 of 1500 videos, 1 failed, 1.0 clips/s"
    done = [int(COUNTED.match(line)["done"]) for line in lines[1:]]  # `status` reads them
    pauses = [after - before for before, after in pairwise(done)]
    assert pauses[:3] == [15, 23, 34] and set(pauses[4:-1]) == {60}


def test_hours_are_told_as_hours(monkeypatch, capsys):
    run(monkeypatch, clips=20, seconds_each=400.0)
    assert "1 of 20 videos, 0 failed, 0.0025 clips/s, 2 h 06 min left" in capsys.readouterr().out


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(monkeypatch, clips=20, done=10)
    assert capsys.readouterr().out == "vid_3 failed: 영상.mp4\n"
    bar = terminal.getvalue()
    assert re.search(r"30/30 .*clip.*failed=1", bar)
    assert bar.rstrip().split("\r")[-1].lstrip().startswith("100%")
