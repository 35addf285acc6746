"""The command on a captioner that was not trained: what it writes, and that a kill changes nothing of it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.unit.captioner.tiny import Tiny
from workflow_scripts import generate_captions
from workflow_scripts.lib.captioner.captions_file import LINES, TABLE
from workflow_scripts.lib.captioner.loading import save_captioner
from workflow_scripts.lib.captioner.settings import write_settings
from workflow_scripts.lib.config import Generation, freeze

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    made = Tiny(tmp_path_factory.mktemp("generation"))
    folder = made.folder / "stage2"
    folder.mkdir()
    save_captioner(made.captioner(seed=4), folder)
    write_settings(made.config, folder)
    (folder / "training.json").write_text('{"caption_tokens": {"p99_5": 20}}')
    return made


def words_of(tiny, out: Path, split="test", **options) -> list[str]:
    out.mkdir(exist_ok=True)
    (out / "generation.yaml").write_text(freeze(Generation(**options)), encoding="utf-8")
    flags = {
        "config": out / "generation.yaml",
        "model": tiny.folder / "stage2",
        "split": split,
        "captions": out / "captions.jsonl",
        "table": out / "captions.parquet",
        "progress": out / "captions.part",
    }
    return tiny.arguments("workflow_scripts.generate_captions", **flags)


@pytest.fixture
def run(monkeypatch):
    def run_command(words):
        monkeypatch.setattr(sys, "argv", words)
        generate_captions.main()

    return run_command


def test_a_caption_a_moment_beside_its_reference(tiny, tmp_path, run, capsys):
    run(words_of(tiny, tmp_path / "out", batch_size=4))
    rows = [json.loads(line) for line in (tmp_path / "out/captions.jsonl").read_text("utf-8").splitlines()]
    assert [row["key"] for row in rows] == [f"vid_{v}#cap_{c}" for v in (15, 16, 17) for c in range(3)]
    assert list(rows[1]) == TABLE.names
    assert rows[1]["reference"] == "빨간 것" and rows[1]["frames"] == [1, 3, 4]
    table = pq.read_table(tmp_path / "out/captions.parquet")
    assert table.schema == TABLE and table["generated"].to_pylist() == [row["generated"] for row in rows]
    assert "9 moments captioned; 0 captions cut at 22 tokens" in capsys.readouterr().out
    assert not (tmp_path / "out/captions.part").exists()


def test_captions_that_reach_the_length_are_counted(tiny, tmp_path, run, capsys):
    run(words_of(tiny, tmp_path / "out", max_new_tokens=1))
    assert "9 captions cut at 1 tokens" in capsys.readouterr().out
    assert all(pq.read_table(tmp_path / "out/captions.parquet")["cut"].to_pylist())


@pytest.mark.slow
def test_a_killed_command_ends_as_an_unkilled_one(tiny, tmp_path, run, capsys):
    options = {
        "do_sample": True,
        "temperature": 2.0,
        "batch_size": 3,
        "min_new_tokens": 60,
        "max_new_tokens": 70,
    }
    run(words_of(tiny, tmp_path / "straight", "train", **options))
    words = words_of(tiny, tmp_path / "killed", "train", **options)
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT)
    journal = tmp_path / "killed/captions.part" / LINES
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert process.returncode < 0, "it was done before it could be killed"
    assert not (tmp_path / "killed/captions.jsonl").exists()
    done = journal.read_bytes().count(b"\n")
    with journal.open("ab") as lines:
        lines.write(b'["torn')

    capsys.readouterr()
    run(words)
    assert f"{done} of 33 moments are done already" in capsys.readouterr().out
    for name in ("captions.jsonl", "captions.parquet"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_captions_of_other_options_are_not_gone_on_with(tiny, tmp_path, run, capsys):
    words = words_of(tiny, tmp_path / "out", batch_size=3)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(generate_captions, "write_captions", _killed)
        run(words)
    assert (tmp_path / "out/captions.part" / LINES).is_file()
    run(words_of(tiny, tmp_path / "out", batch_size=3, num_beams=2))
    out = capsys.readouterr().out
    assert "generation.num_beams: 1 -> 2" in out and "done already" not in out


def _killed(*_) -> None:
    raise RuntimeError("killed")
