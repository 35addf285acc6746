"""Ten million items: how long, and in how much memory, a fresh process opens them and reads some."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.features_data import vast_corpus
from benchmarks.rounds import CHECKOUT

READER, ALIGNED = "reader", "aligned data set"
# What each opens, and how it reads item i; imports come first and are told apart.
OPENING = {
    READER: (
        "from workflow_scripts.lib.features.reader import open_features",
        "open_features(root, 'video')",
        "opened[f'vid_{item}']",
    ),
    ALIGNED: (
        "from workflow_scripts.lib.features.caption_lists import caption_table\n"
        "from workflow_scripts.lib.features.datasets import AlignedDataset, CaptionTable\n"
        "from workflow_scripts.lib.features.reader import open_features",
        "AlignedDataset(open_features(root, 'video'), open_features(root, 'text'),"
        " CaptionTable(caption_table(root, 'train')))",
        "opened[item], opened.captions.text(item)",
    ),
}
PROBE = """
import json, sys, time
from pathlib import Path
began = time.perf_counter()
{imports}
imported = time.perf_counter()

def peak_mib():
    # of this program alone: ru_maxrss may be that of the process that started it
    [line] = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

root, items = Path(sys.argv[1]), json.loads(sys.argv[2])
before = peak_mib()
start, cpu = time.perf_counter(), time.process_time()
opened = {open}
is_open = time.perf_counter()
for item in items[:1]:
    {read}
read_one, read_one_cpu = time.perf_counter(), time.process_time()
peak_of_one = peak_mib()
for item in items[1:]:
    {read}
read_all = time.perf_counter()
print(json.dumps({{
    "imports_s": imported - began,
    "imports_mib": before,
    "open_s": is_open - start,
    "open_and_first_s": read_one - start,
    "open_and_first_cpu_s": read_one_cpu - cpu,
    "others_s": read_all - read_one,
    "peak_mib_first": peak_of_one,
    "own_mib_first": peak_of_one - before,
    "peak_mib": peak_mib(),
}}))
"""


def opening(cache: Path, items: int, per_shard: int, rounds: int) -> dict:
    """Seconds and MiB of a fresh process that opens a corpus of so many items, and reads item i and 100 others.

    The files of the corpus hold indices and no values; they are in the page cache.
    """
    root = vast_corpus(cache, items, per_shard)
    places = [items // 2, *(place * (items - 1) // 99 for place in range(100))]
    return {
        "items": items,
        "shards": -(-items // per_shard),
        "opened": {name: _medians(name, root, places, rounds) for name in OPENING},
    }


def _medians(name: str, root: Path, items: list[int], rounds: int) -> dict:
    imports, open_, read = OPENING[name]
    command = [sys.executable, "-c", PROBE.format(imports=imports, open=open_, read=read)]
    answers = [
        json.loads(
            subprocess.run(
                [*command, str(root), json.dumps(items)], cwd=CHECKOUT, check=True, capture_output=True
            ).stdout
        )
        for _ in range(rounds + 1)
    ][1:]  # the first fills the page cache
    return {
        "rounds": rounds,
        **{figure: round(median(answer[figure] for answer in answers), 4) for figure in answers[0]},
    }
