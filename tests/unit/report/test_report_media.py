"""Pictures of videos whose frames were removed are made again from the videos, and are the same."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.frames.numbered import write
from tests.unit.report.fake_run import FakeRun
from workflow_scripts.lib.config import FramesConfig, ReportConfig
from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.frames.extract import Settings
from workflow_scripts.lib.frames.pool import Limits
from workflow_scripts.lib.frames.stage import Executor, ShardFiles, extract_shard
from workflow_scripts.lib.report.media import FrameSource, Media
from workflow_scripts.lib.report.page import build_page

CONFIG = FramesConfig(count=4, size=[64, 128], moment_frames=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three videos and their frames; the second is a clip, with a captioned moment."""
    folder = tmp_path_factory.mktemp("보고서")
    for i in range(3):
        write(folder / f"영상 {i}.mp4", frames=30 + i)
    videos = [
        {"index": i, "id": str(i), "path": f"영상 {i}.*", "source": str(i), "split": "test",
         "start_s": 0.2 if i == 1 else None}
        for i in range(3)
    ]  # fmt: skip
    moment = {"video": 1, "caption": 0, "key": "vid_1#cap_0", "split": "test", "language": "ko", "text": "말",
              "start_s": 0.1, "end_s": 0.4}  # fmt: skip
    pq.write_table(pa.Table.from_pylist(videos, VIDEOS), folder / "videos_000.parquet")
    pq.write_table(pa.Table.from_pylist([moment], CAPTIONS), folder / "captions_000.parquet")
    files = ShardFiles(
        folder / "videos_000.parquet", folder / "captions_000.parquet", folder, folder / "journal",
        folder / "frames_000.tar", folder / "status_000.parquet",
    )  # fmt: skip
    extract_shard(CONFIG, Limits(), files, Executor())
    return folder


def strips(folder):
    with Media(folder, 1, FrameSource(folder, folder, Settings.of(CONFIG))) as media:
        videos = media.videos(range(3)).values()
        return [media.strip(video, range(len(video.timestamps)), 32, 6) for video in videos]


def test_the_pictures_are_the_same_without_the_tar(made):
    before = strips(made)
    assert len(set(before)) == 3
    (made / "frames_000.tar").unlink()
    assert strips(made) == before
    (made / "영상 0.mp4").unlink()
    write(made / "영상 2.mp4", frames=70)
    assert strips(made) == [None, before[1], None]


def test_the_page_says_so_when_the_videos_are_gone_too(tmp_path):
    run = FakeRun(tmp_path)
    run.collect()
    with run.media() as media:
        page = build_page(ReportConfig(), run.collect(), run.results, media, run.benchmarks, [])
    assert "(frames removed)" not in page and "data:image/jpeg" in page
    for tar in run.frame_folder.glob("*.tar"):
        tar.unlink()
    with run.media() as media:
        page = build_page(ReportConfig(), run.collect(), run.results, media, run.benchmarks, [])
    assert "(frames removed)" in page and "data:image/jpeg" not in page
