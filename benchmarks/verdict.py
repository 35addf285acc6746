"""The targets of decoding, each with what was measured."""

import sys
from collections.abc import Callable
from statistics import median

from benchmarks.clips import MadeClip
from benchmarks.rounds import Turns

OURS, BARE, OPENCV, FAST = "ours, exact", "bare PyAV loop", "OpenCV read", "ours, fast"
OF_BARE, OF_TWO, OF_OPENCV, OF_OPENCV_DENSE, OF_EXACT = 0.9, 1.85, 1.0, 2.0, 1.8
LONG_S, DENSE_GOP = 20, 60  # from there on a clip is long; up to there its keyframes are dense
FAST_OFF, FAST_DIFFERENCE = (
    1,
    5.0,
)  # frames; of 0..255, in the mean: as `frames.decode_quality` tells its users
GROWTH_MB = 1.0  # resident memory a thousand videos
SHARED = 0.05  # of the processors' time used by others: from there on wall time tells little about us


def judge(
    turns: Turns, clips: list[MadeClip], shards: list[dict], errors: dict, memory: dict, others: float
) -> list[dict]:
    """A row a target: `target`, `measured` (the worst case), `where`, `needed`, `passed`."""
    names = [clip.kind.name for clip in clips]
    dense = [c.kind.name for c in clips if c.kind.seconds >= LONG_S and c.kind.gop <= DENSE_GOP]

    def against(other: str, processes: int = 1) -> Callable[[str], float]:
        return lambda clip: median(turns.ratio((other, clip, processes), (OURS, clip, processes)))

    def two(clip: str) -> float:
        return _scaling(*(_figures(turns, clip, processes) for processes in (1, 2)), others)

    whole = {(row["shard"], row["processes"]): row for row in shards}
    ratios = {
        f"{n} process{'es' * (n > 1)}": _paired(whole["bare", n]["cpu_s"], whole["ours", n]["cpu_s"])
        for n in (1, 2)
    }
    one, both = ((whole["ours", n]["cpu_s"], whole["ours", n]["wall_s"]) for n in (1, 2))
    terms = "CPU" if others > SHARED else "wall"
    rows = [
        _least("clips/s of exact over the bare loop, 1 process", OF_BARE, names, against(BARE)),
        _least("clips/s of exact over the bare loop, 2 processes", OF_BARE, names, against(BARE, 2)),
        _least("clips/s of a whole shard over the bare loop", OF_BARE, list(ratios), ratios.get),
        _least(f"2 processes over 1, decoding ({terms} time)", OF_TWO, names, two),
        at_least(
            f"2 processes over 1, whole shard ({terms} time)",
            OF_TWO,
            _scaling(one, both, others),
            "all clips",
        ),
        _least("clips/s of exact over OpenCV reading", OF_OPENCV, names, against(OPENCV)),
    ]
    if dense:
        what = "the same, long clips with dense keyframes"
        rows.append(_least(what, OF_OPENCV_DENSE, dense, against(OPENCV)))
    speed = {clip: median(turns.ratio((OURS, clip, 1), (FAST, clip, 1))) for clip in names}
    rows.append(_least("clips/s of fast over exact", OF_EXACT, names, speed.get))
    for what, most in (("frames_off", FAST_OFF), ("mean_abs_difference", FAST_DIFFERENCE)):
        found = {clip: errors[clip][FAST][what] for clip in names}
        rows.append(_most(f"{what} of fast", most, found))
    return [*rows, _flat(memory)]


def _figures(turns: Turns, clip: str, processes: int) -> tuple[list[float], list[float]]:
    return turns.cpu_s[OURS, clip, processes], turns.wall_s[OURS, clip, processes]


def _scaling(one: tuple, two: tuple, others: float) -> float:
    """Clips/s of two processes over one, from (CPU seconds, wall seconds) a clip, one figure a round.

    Where others use the machine, wall time measures them. Then it is what two processors of our own would give:
    twice the processors over the growth of CPU time a clip.
    """
    if others > SHARED:
        return 2 * _paired(one[0], two[0])
    return _paired(one[1], two[1])


def _paired(slower: list[float], faster: list[float]) -> float:
    return median(a / b for a, b in zip(slower, faster, strict=True))


def _least(target: str, needed: float, cases: list[str], measured: Callable[[str], float]) -> dict:
    worst = min(cases, key=measured)
    return at_least(target, needed, measured(worst), worst)


def at_least(target: str, needed: float, measured: float, where: str) -> dict:
    """A row of a verdict."""
    return {
        "target": target,
        "measured": round(measured, 3),
        "needed": f"at least {needed:g}",
        "where": where,
        "passed": measured >= needed,
    }


def _most(target: str, most: float, found: dict[str, float | None]) -> dict:
    worst = max(found, key=lambda case: float("inf") if found[case] is None else found[case])
    return at_most(target, most, found[worst], worst)


def at_most(target: str, most: float, measured: float | None, where: str) -> dict:
    """A row of a verdict."""
    return {
        "target": target,
        "measured": measured,
        "needed": f"at most {most:g}",
        "where": where,
        "passed": measured is not None and measured <= most,
    }


def tell(rows: list[dict], quick: bool) -> None:
    """Print a verdict; exit code 1 when a target is missed, but for a quick run, which measures nothing."""
    for row in rows:
        print(f"{'pass' if row['passed'] else 'FAIL'}  {row['target']}: {row['measured']} ({row['where']})")
    if not all(row["passed"] for row in rows) and not quick:
        sys.exit(1)


def _flat(memory: dict) -> dict:
    return {
        "target": "MB that a decoding process grows in 1,000 videos",
        "measured": memory["mb_a_1000_videos"],
        "needed": f"at most {GROWTH_MB:g}, in one process",
        "where": f"{memory['videos']} videos, {memory['processes']} process",
        "passed": memory["mb_a_1000_videos"] <= GROWTH_MB and memory["processes"] == 1,
    }
