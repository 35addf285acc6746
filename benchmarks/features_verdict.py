"""The targets of features, each with what was measured."""

from benchmarks import features_bigfile, features_extraction, features_reading
from benchmarks.features_opening import ALIGNED, READER
from benchmarks.verdict import SHARED, at_least, at_most

OF_BARE_LOOP, OF_H5PY, OF_MEMORY_MAP, OF_ORIGINAL = 0.95, 10, 0.7, 20
OPEN_S, OPEN_MIB = 1.0, 500


def judge(result: dict) -> list[dict]:
    """A row a target: `target`, `measured` (the worst case), `where`, `needed`, `passed`."""
    take, h5py = features_reading.TAKE, (features_reading.PLAIN, features_reading.PLAIN_OURS)
    reading, bigfiles = [result["reading"]], result["bigfile"]
    rows = [
        _least(
            "frames/s of extraction over the bare forward loop",
            OF_BARE_LOOP,
            [
                (ratio, f"{run['model']}, {run['precision']}, {run['threads']} threads, by {run['counts']}")
                for run in result["extraction"]
                for ratio in _ratios(run, features_extraction.OURS, {features_extraction.BARE})
                if ratio["of"] == run["counts"]
            ],
        ),
        _least("random batches over h5py, a dataset a key", OF_H5PY, _cases(reading, take, {*h5py})),
        _least(
            "random batches over slices of a memory map",
            OF_MEMORY_MAP,
            _cases(reading, take, {features_reading.BARE}),
        ),
    ]
    for ours in (features_bigfile.OURS, features_bigfile.CONVERTED):
        cases = _cases(bigfiles, ours, {features_bigfile.ORIGINAL})
        rows.append(_least(f"{ours}, over the original's way", OF_ORIGINAL, cases))
    opened, items = result["opening"]["opened"], f"{result['opening']['items']:,} items"
    shared = result["others_share_of_processors"] > SHARED
    clock, figure = ("CPU", "open_and_first_cpu_s") if shared else ("wall", "open_and_first_s")
    for name in (READER, ALIGNED):
        what = f"s to open the {name} and read item i, imports apart ({clock} time)"
        rows.append(at_most(what, OPEN_S, opened[name][figure], items))
    what = f"MiB of a process that opens the {READER} and reads item i"
    rows.append(at_most(what, OPEN_MIB, opened[READER]["peak_mib_first"], items))
    what = f"MiB on top of the imports to open the {ALIGNED} and read item i"  # torch alone may take more
    rows.append(at_most(what, OPEN_MIB, opened[ALIGNED]["own_mib_first"], items))
    return rows


def _ratios(section: dict, ours: str, others: set[str]) -> list[dict]:
    return [ratio for ratio in section["ratios"] if ratio["faster"] == ours and ratio["than"] in others]


def _cases(sections: list[dict], ours: str, others: set[str]) -> list[tuple[dict, str]]:
    """Ratios, each with a name for its case."""
    return [
        (ratio, ", ".join([ratio["than"], f"{section['width']} wide", *_rows(section)]))
        for section in sections
        for ratio in _ratios(section, ours, others)
    ]


def _rows(section: dict) -> list[str]:
    return [f"rows {section['rows']}"] if "rows" in section else []


def _least(target: str, needed: float, cases: list[tuple[dict, str]]) -> dict:
    ratio, where = min(cases, key=lambda case: case[0]["times"])
    return at_least(target, needed, ratio["times"], where)
