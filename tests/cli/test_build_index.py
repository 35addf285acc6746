import json
import sys

import pytest

from tests.unit.retrieval.search_corpus import make_sources
from workflow_scripts import build_index
from workflow_scripts.lib.config import freeze_side
from workflow_scripts.lib.errors import UserError


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Run the command on a small corpus; returns what index.json says."""
    sources = make_sources(tmp_path / "c")
    (tmp_path / "c/encoder_text.yaml").write_text(freeze_side(sources.encoder, "text"), encoding="utf-8")

    def run(*flags):
        options = {
            "config": "retrieval.yaml", "model": "model", "features": "features", "text-features": "features",
            "corpus": "corpus", "index": "색인",
        }  # fmt: skip
        paths = [part for name, path in options.items() for part in (f"--{name}", str(tmp_path / "c" / path))]
        monkeypatch.setattr(sys, "argv", ["build_index", *paths, "--shards", "1", "--threads", "1", *flags])
        build_index.main()
        return json.loads((tmp_path / "c/색인/index.json").read_text(encoding="utf-8"))

    run.folder = tmp_path / "c"
    return run


def test_the_folder_tells_what_it_is(build, capsys):
    flags = ["--encoder", str(build.folder / "encoder_text.yaml"), "--frames", str(build.folder / "frames")]
    info = build(*flags, "--trained-clip", "--splits", "train", "test")
    assert (info["kind"], info["videos"], info["splits"]) == ("exact", 10, ["train", "test"])
    assert info["encoder"]["identity"]["space"]["library"] == "open_clip"
    assert info["provenance"]["seed"] == 0
    assert {path.name for path in (build.folder / "색인").iterdir()} == {
        "index.json",
        *info["files"],
        "model",
    }
    assert "exact, 10 videos" in capsys.readouterr().out


def test_flags_without_values_are_as_if_left_out(build, capsys):
    info = build("--encoder", "--trained-clip", "--frames")
    assert info["encoder"] is None
    assert "not be searched by text" in capsys.readouterr().out


def test_too_few_videos_for_an_approximate_index(build):
    with pytest.raises(UserError, match="--approximate: 52 clips are too few"):
        build("--approximate")
    assert not (build.folder / "색인").exists()


def test_exact_and_approximate_exclude_each_other(build, capsys):
    with pytest.raises(SystemExit):
        build("--exact", "--approximate")
    assert "not allowed with" in capsys.readouterr().err
