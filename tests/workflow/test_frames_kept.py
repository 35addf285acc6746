"""Limits rerun nothing, frames that are not kept go when their features exist, and retries are found by Snakemake."""

import copy
import re
import shutil

import pytest

from tests.workflow.planning import Scratch, demo_config
from tests.workflow.test_reruns import edit
from workflow_scripts.lib.config import parse_config
from workflow_scripts.lib.files import write_json
from workflow_scripts.lib.frames.retry import files_of, request_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    scratch = Scratch(tmp_path_factory.mktemp("kept"), demo_config())
    said = scratch.snakemake("--quiet", "progress")
    return scratch, said


def frames(scratch):
    return {file.suffix for file in scratch.folder.glob("resources/*/frames/*_0*.*")}


def test_the_disk_is_told_before(finished):
    config = parse_config(demo_config())
    assert f"for {config.corpus.demo.videos} videos" in finished[1]
    assert "frames: about" in finished[1] and "keep: yes" in finished[1]


def test_limits_rerun_nothing(finished):
    limits = {
        "timeout_s": 7, "memory_mb": 999, "max_bad_fraction": 0.9, "executor": "ray", "ray_address": "ray.example:1",
        "keep": False,
    }  # fmt: skip
    config = demo_config()
    config["frames"] |= limits
    finished[0].configure(config)
    assert finished[0].planned() == {}
    command = finished[0].snakemake("--dry-run", "--forcerun", "extract_frames")
    for flag in (
        "--timeout-s 7.0",
        "--memory-mb 999",
        "--executor ray",
        "--ray-address ray.example:1",
        "--no-keep",
    ):
        assert flag in command
    finished[0].configure(edit(demo_config(), "frames.moment_frames", 2))
    assert "captions_000.parquet --root" in finished[0].snakemake("--dry-run").replace("'", "")


@pytest.mark.slow
def test_a_shard_that_is_asked_for_again_is_done_again_and_no_other(finished):
    scratch, _ = finished
    scratch.configure(demo_config())
    assert scratch.planned() == {}
    config = parse_config(demo_config())
    files = files_of(config, 0)  # where retry_failed takes the rules' files to lie
    for file in (files.videos, files.tar, files.status):
        assert (scratch.folder / file).exists()
    for number in range(2):
        write_json(scratch.folder / request_of(config, 0), {"number": number})
        said = scratch.snakemake("--dry-run").replace("'", "")
        assert re.findall(r"--journal (\S+)", said) == [str(files.journal)]
        if number == 0:
            scratch.pretend_run()
            assert scratch.planned() == {}
            shutil.rmtree(scratch.folder / ".snakemake")  # people do that to mend things


@pytest.mark.slow
def test_frames_that_are_not_kept_are_removed_after_their_use(tmp_path):
    scratch = Scratch(tmp_path, edit(copy.deepcopy(demo_config()), "frames.keep", False))
    scratch.pretend_run()
    assert frames(scratch) == {".parquet"}
    assert list(tmp_path.glob("results/*/report/index.html"))
    assert scratch.planned() == {}
