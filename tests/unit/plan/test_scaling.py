import re
from pathlib import Path, PurePath

import pytest

from workflow_scripts.lib.plan.scaling import SCALING, Name, job_name

RULES = Path(__file__).parents[3] / "rules"


def test_every_measured_rule_has_its_line():
    text = "".join(file.read_text(encoding="utf-8") for file in RULES.glob("*.smk"))
    assert set(re.findall(r"\{BENCHMARKS\}/(\w+)", text)) == set(SCALING)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("train_clip.tsv", Name("train_clip")),
        ("extract_frames/007.tsv", Name("extract_frames", "", 7)),
        ("corpus_shard/videos_1234.tsv", Name("corpus_shard", "videos", 1234)),
        ("generate_captions/test.tsv", Name("generate_captions", "test")),
        (
            "extract_video_features/results/r/features/dino_518/003.tsv",
            Name("extract_video_features", "dino_518", 3),
        ),
        ("list_captions/resources/c/features/dino_518.tsv", Name("list_captions", "dino_518")),
        ("collect_features/results/features/features/clip/text.tsv", Name("collect_features", "clip/text")),
    ],
)
def test_a_benchmark_file_tells_its_job(file, name):
    assert job_name(PurePath(file)) == name
