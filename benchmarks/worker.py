"""A warm process that reads clips when told: `python -m benchmarks.worker READER`.

A line of JSON in, `{"path", "repeat", "keep"}`, and one out: `{"wall_s", "cpu_s", "frames"}` of `repeat` readings, or
`{"error"}`. `keep` is a folder for what was read, or null. Needs no package but the reader's own.
"""

import json
import os
import sys
import time
from pathlib import Path

from benchmarks.machine import cpu_seconds
from benchmarks.readers import COUNT, READERS, SIZE

JPEG_START = b"\xff\xd8\xff"


def main() -> None:
    reader = READERS[sys.argv[1]]
    # Libraries print what they like; the answers keep the real standard output for themselves.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(_answer(reader, **json.loads(line))) + "\n")


def _answer(reader, path: str, repeat: int, keep: str | None) -> dict:
    began, cpu = time.perf_counter(), cpu_seconds()
    try:
        for _ in range(repeat):
            frames = reader(Path(path), COUNT, SIZE)
    except Exception as error:  # a tool that does not run here is a result
        return {"error": f"{type(error).__name__}: {error}".strip().splitlines()[-1][:300]}
    answer = {"wall_s": time.perf_counter() - began, "cpu_s": cpu_seconds() - cpu, "frames": len(frames)}
    for number, frame in enumerate(frames if keep else []):
        ending = "jpg" if frame.startswith(JPEG_START) else "bin"  # other tools give other things
        Path(keep, f"{number:03d}.{ending}").write_bytes(frame)
    return answer


if __name__ == "__main__":
    main()
