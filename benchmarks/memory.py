"""Memory of a decoding process over thousands of videos, which must not grow."""

import os
import tempfile
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from benchmarks.clips import SMALL, broken_clip, make_clips
from benchmarks.readers import COUNT, SIZE
from workflow_scripts.lib.frames.extract import Clip, Settings
from workflow_scripts.lib.frames.pool import Limits, Pool
from workflow_scripts.lib.frames.stage import EXTRACT

WARM_UP = 1 / 4  # of the videos; buffers reach their size in it


def memory_over(videos: int, sample_every: int, folder: Path) -> dict:
    """Resident MB of the one process of a pool after every `sample_every` of `videos` small files in turn.

    They are of several codecs and containers, and one is broken and one no video. `mb_a_1000_videos` is the slope
    of a straight line through the samples after the warm-up; `processes` is how many the pool used.
    """
    settings = Settings(count=COUNT, size=SIZE)
    with tempfile.TemporaryDirectory() as scratch:
        clips = make_clips(folder, SMALL)
        page = Path(scratch, "page.mp4")
        page.write_text("<html><body>404</body></html>")
        files = [*(clip.path for clip in clips), broken_clip(Path(scratch), clips[0]), page]
        tasks = (
            ((Clip(index, str(file)),), settings) for index, file in enumerate(islice(cycle(files), videos))
        )
        samples, pids, failed = [], set(), 0
        with Pool(EXTRACT, 1, Limits()) as pool:
            for done, (_, answer, _) in enumerate(pool.run(tasks), start=1):
                failed += answer.reason is not None
                pids |= {worker.process.pid for worker in pool.workers}
                if done % sample_every == 0:
                    samples.append((done, _rss_mb(pool.workers[0].process.pid)))
    after = np.array([sample for sample in samples if sample[0] > WARM_UP * videos])
    slope, _ = np.polyfit(after[:, 0], after[:, 1], 1)
    return {
        "videos": videos,
        "files": len(files),
        "failed": failed,
        "processes": len(pids),
        "rss_mb": [[done, round(rss, 1)] for done, rss in samples],
        "mb_a_1000_videos": round(float(slope) * 1000, 3),
        "growth_mb": round(float(after[-1, 1] - after[0, 1]), 1),
    }


def _rss_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
