"""How long, and in how much memory, ten million annotated clips are read: at plan time, and by `ingest_corpus`.

Writes a CSV like that of WebVid-10M into a temporary folder, runs both steps on it as processes of their own, and
writes what they took into a JSON file. `python -m benchmarks.ingest --rows 10_700_000 --out benchmarks/results/ingest.json`
"""

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.machine import machine_facts
from workflow_scripts.lib.config import CorpusConfig, freeze
from workflow_scripts.lib.files import write_json

HEADER = ("videoid", "contentUrl", "duration", "page_dir", "name")
PLACES = 50  # pages in a folder, as WebVid has them
CLIPS_A_PAGE = 40
WORDS = (
    "a the of in on with and young woman man walking aerial view sunset beach city traffic night close up slow motion "
    "green screen background forest mountain river water happy family business team office drone shot clouds time "
    "lapse flowers abstract animation 4k footage street people dancing kitchen cooking fresh vegetables snow winter"
)
DIGESTS = """
import sys
from pathlib import Path
from workflow_scripts.lib.config import CorpusConfig, load_section
from workflow_scripts.lib.corpus.digests import annotations_state, shard_digests
config = load_section(CorpusConfig, Path(sys.argv[1]))
digests = shard_digests(config, annotations_state(config), sys.argv[2])
assert len(set(digests)) == config.shards
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_700_000, help="clips to read")
    parser.add_argument("--out", type=Path, required=True, help="results to write (JSON)")
    parser.add_argument(
        "--folder", type=Path, help="where the temporary files go; default: the system's folder"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write_json(args.out, measure(Path(folder), args.rows))


def measure(folder: Path, rows: int) -> dict:
    """Seconds, clips a second and peak memory of both steps, and the sizes of what they read and wrote."""
    notes, config = folder / "webvid.csv", folder / "corpus.yaml"
    write_csv(notes, rows)
    section = CorpusConfig(
        name="webvid", adapter="webvid", annotations=notes, shards=-(-rows // 50_000), check_files=False
    )
    config.write_text(freeze(section), encoding="utf-8")
    tables = {name: folder / f"{name}.parquet" for name in ("videos", "captions")}
    flags = [word for name, path in tables.items() for word in (f"--{name}", str(path))]
    ingest = ["-m", "workflow_scripts.ingest_corpus", "--config", str(config), *flags]
    return {
        "rows": rows,
        "check_files": False,
        "shard_digests": run(["-c", DIGESTS, str(config), str(folder / "cache.json")], rows),
        "ingest_corpus": run([*ingest, "--problems", str(folder / "problems.jsonl")], rows),
        "bytes": {path.name: path.stat().st_size for path in (notes, *tables.values())},
        "load_average_at_end": round(os.getloadavg()[0], 1),
        "pyarrow": version("pyarrow"),
        "machine": machine_facts(),
    }


def write_csv(path: Path, rows: int) -> None:
    """Captions of 4 to 25 words; every clip in the folder of its page, and the pages in any order."""
    chance, words = random.Random(0), WORDS.split()
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(HEADER)
        for clip in range(rows):
            name = " ".join(chance.choices(words, k=chance.randint(4, 25)))
            if clip % 5 == 0:
                name = name.replace(" and ", ", ", 1)
            id_ = 1_000_000 + clip * 7 + chance.randint(0, 6)
            page = chance.randrange(1 + rows // (PLACES * CLIPS_A_PAGE)) * PLACES
            url = f"https://example.org/videos/{id_}/preview/stock-footage-{name[:60].replace(' ', '-')}.mp4"
            writer.writerow(
                (
                    id_,
                    url,
                    f"PT00H00M{chance.randint(5, 59):02d}S",
                    f"{page + 1:06d}_{page + PLACES:06d}",
                    name,
                )
            )


def run(arguments: list[str], rows: int) -> dict[str, float]:
    """Run Python with these arguments to its end; CalledProcessError when it fails."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments], cwd=Path(__file__).parents[1])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    cpu = usage.ru_utime + usage.ru_stime
    return {
        "seconds": round(seconds, 1),
        "rows_a_second": round(rows / seconds),
        "cpu_seconds": round(cpu, 1),
        "microseconds_of_cpu_a_row": round(1e6 * cpu / rows, 2),
        "peak_rss_mib": round(usage.ru_maxrss / 1024),
    }


if __name__ == "__main__":
    main()
