"""The targets of retrieval, each with what was measured."""

from benchmarks.verdict import at_most

STEP, MEMORY, EVALUATION = 0.6, 0.5, 0.35
# The original's own code, measured on another machine (2 vCPU AMD EPYC, shared): CPU seconds and MiB. For comparison alone.
ORIGINAL = {"step_cpu_s": 23.1, "reading_cpu_s": 2.5, "peak_mib": 6977, "evaluation_cpu_s": 165}


def judge(result: dict) -> list[dict]:
    """A row a target: `target`, `measured`, `where`, `needed`, `passed`; of what was measured, on the CPU."""
    rows = []
    for run in result.get("training", []):
        if run["device"] == "CPU" and run["threads"] == 1:
            what = "CPU time of a training step over the reference's"
            rows.append(at_most(what, STEP, round(run["ratios"]["step"]["cpu_s"], 3), "CPU, 1 thread"))
    for run in result.get("memory", []):
        if run["device"] == "CPU":
            what = "peak memory of training over the reference's, imports included"
            rows.append(at_most(what, MEMORY, round(run["ratios"]["peak_mib"], 3), "CPU, fresh processes"))
    for run in result.get("evaluation", []):
        if run["device"] == "CPU":
            what = "CPU time of an evaluation pass over the reference's"
            where = f"{run['videos']:,} videos, {run['queries']:,} captions"
            rows.append(at_most(what, EVALUATION, round(run["ratios"]["cpu_s"], 3), where))
    return rows
