"""Where an evaluation pass spends its CPU time, by the functions that its stages are."""

import cProfile
import pstats
import time
from collections.abc import Callable
from types import CodeType
from typing import Any

from benchmarks import retrieval_reference, retrieval_reference_evaluation
from benchmarks.retrieval_contestants import OURS, REFERENCE
from benchmarks.retrieval_reference import Reference
from benchmarks.retrieval_reference_inputs import Files, video_batch
from workflow_scripts.lib.features.datasets import take
from workflow_scripts.lib.retrieval import data, ranking
from workflow_scripts.lib.retrieval.model import GMMFormer

READING, VIDEOS, QUERIES, SCORING, RANKS = (
    "reading",
    "encoding videos",
    "encoding queries",
    "scoring",
    "ranks",
)
# None of them calls another.
STAGES: dict[str, dict[str, list[Callable]]] = {
    OURS: {
        READING: [take, data.video_inputs, data.query_inputs],
        VIDEOS: [GMMFormer.encode_video],
        QUERIES: [GMMFormer.encode_query],
        SCORING: [ranking._scores],
        RANKS: [ranking._not_behind, ranking._Top.update],
    },
    REFERENCE: {
        READING: [Files.video, Files.caption, video_batch],
        VIDEOS: [Reference.encode_context],
        QUERIES: [Reference.encode_query],
        SCORING: [retrieval_reference.clip_scores, retrieval_reference.frame_scores],
        RANKS: [retrieval_reference_evaluation.ranks_of],
    },
}


def shares(run: Callable[[], Any], stages: dict[str, list[Callable]]) -> tuple[Any, dict[str, float]]:
    """What `run` gives, and its CPU seconds by stage; "the rest" is what none of the stages' functions did.

    RuntimeError when a function was never called: it is not where the time goes any more.
    """
    profile = cProfile.Profile(time.process_time, builtins=False)
    found = profile.runcall(run)
    spent = {place: of_it[3] for place, of_it in pstats.Stats(profile).stats.items()}
    seconds = {}
    for stage, functions in stages.items():
        places = [_place(function.__code__) for function in functions]
        if missing := [place[2] for place in places if place not in spent]:
            raise RuntimeError(f"{', '.join(missing)}: never called")
        seconds[stage] = sum(spent[place] for place in places)
    whole = max(spent.values())
    return found, {**seconds, "the rest": whole - sum(seconds.values())}


def _place(code: CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_name
