"""The example configurations of large corpora plan the jobs that they promise."""

import csv
import json

import pytest
import yaml

from tests.workflow.planning import ROOT, Scratch


def annotate(name: str, folder) -> None:
    """Annotations of two videos a file, where the example expects them."""
    data = folder / "data" / name
    data.mkdir(parents=True)
    if name == "webvid":
        for split, first in (("train", 0), ("val", 2)):
            with (data / f"results_10M_{split}.csv").open("w", encoding="utf-8", newline="") as handle:
                rows = csv.writer(handle)
                rows.writerow(["videoid", "contentUrl", "duration", "page_dir", "name"])
                rows.writerows(
                    [first + i, "https://example.org", "PT00H00M12S", "000001_000050", f"clip {i}"]
                    for i in (0, 1)
                )
    elif name == "activitynet":
        for split in ("train", "val_1"):
            video = {"duration": 10.0, "timestamps": [[0, 4.5]], "sentences": [" A man waves."]}
            (data / f"{split}.json").write_text(json.dumps({f"v_{split}": video}))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shards"), [("webvid", 215), ("activitynet", 6)])
def test_an_example_plans_all_shards(tmp_path, name, shards):
    annotate(name, tmp_path)
    config = yaml.safe_load((ROOT / f"examples/{name}.yaml").read_text(encoding="utf-8"))
    jobs = Scratch(tmp_path, config).planned()
    assert jobs["extract_frames"] == jobs["extract_features"] == shards
