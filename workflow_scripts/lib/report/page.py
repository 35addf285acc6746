"""The report: one HTML page with everything in it, fonts and pictures included."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from workflow_scripts.lib.config import ReportConfig
from workflow_scripts.lib.frames.moments import frames_in_moment
from workflow_scripts.lib.plan.summary import Plan
from workflow_scripts.lib.report import captions, clip, examples, fonts, numbers, plans, retrieval, sections
from workflow_scripts.lib.report.benchmarks import rule_costs
from workflow_scripts.lib.report.curves import draw_curves
from workflow_scripts.lib.report.media import Media, Video
from workflow_scripts.lib.report.words import mark_words, similarity

STAGES = ("clip", "retrieval", "captioner")
VIDEO_FRAMES, VIDEO_HEIGHT = 6, 80  # of a retrieved video
MOMENT_FRAMES, MOMENT_HEIGHT = 4, 112  # of a captioned moment
TEXTS = 3  # captions shown of a video that has no frames
FAILURES = 50
THIS_RULE = "build_report"


def build_page(
    config: ReportConfig,
    metrics: dict[str, Any],
    results: Path,
    media: Media,
    benchmarks: Path,
    rules: Sequence[str],
    plan: Plan | None = None,
) -> str:
    """The whole page.

    `metrics` decides which stages are on; files of others in `results` are not looked at. `rules` are those of
    the workflow, whose cost is told, beside what the `plan` of the run told of it.

    UserError when tables and results do not belong together or a file cannot be read.
    """
    on = [stage for stage in STAGES if stage in metrics]
    # The report's own cost is known only after it.
    costs = rule_costs(benchmarks, set(rules) - {THIS_RULE}, media.shards)
    context = {
        "title": config.title,
        "metrics": metrics,
        "tiles": sections.tiles(metrics, costs),
        "clip": clip.section(metrics.get("clip") or {}),
        "retrieval": _retrieval(config, metrics["retrieval"], results, media) if "retrieval" in on else None,
        "captioner": _captioner(config, metrics, results, media) if "captioner" in on else None,
        "curves": draw_curves(results, on),
        "training_cost": retrieval.training_cost(results) if "retrieval" in on else None,
        "frames": metrics.get("frames"),
        "reasons": sections.failure_table(metrics.get("frames")),
        "failures": media.failures(FAILURES),
        "costs": costs,
        "planned": {**plans.section(plan), "seconds": plans.planned_seconds(plan)} if plan else None,
        "provenance": sections.provenance_table(metrics["provenance"]),
    }
    return render(context)


def render(context: dict[str, Any], page: str = "page.html.j2") -> str:
    """A template of this folder filled in; twice, since the font holds the characters that the page turns out to use."""
    environment = Environment(
        loader=PackageLoader("workflow_scripts.lib.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= numbers.FILTERS
    template = environment.get_template(page)
    style = environment.loader.get_source(environment, "page.css")[0].replace(
        "FONT_FAMILY", f'"{fonts.FAMILY}"'
    )
    font_face = fonts.font_face(template.render(**context, style=""))
    return template.render(**context, style=Markup(font_face + "\n" + style))


def _retrieval(config: ReportConfig, found: dict, results: Path, media: Media) -> dict:
    groups = retrieval.text_to_video(found)
    split = retrieval.shown_split(found)
    ranks = examples.read_ranks(results / "retrieval" / "ranks.parquet", split) if split else []
    chosen = examples.choose_queries(ranks, config.examples)
    videos = media.videos(video for row in chosen for video in examples.shown_videos(row))
    captions = media.captions((row["video"] for row in chosen), (row["key"] for row in chosen))
    if media.frames:
        looks = {index: {"strip": _video_strip(media, video)} for index, video in videos.items()}
    else:
        looks = {index: {"texts": texts} for index, texts in media.texts(videos, TEXTS).items()}
    shown = [_query(row, captions[row["key"]], videos, looks) for row in chosen]
    return {
        "columns": [column.label for column in retrieval.COLUMNS.values()],
        "groups": groups,
        "reverse": retrieval.video_to_text(found),
        "by_moment": retrieval.moment_table(found),
        "split": split,
        "cut": (found.get(split) or {}).get("captions_cut"),
        "baselines": split == "test" and bool(found.get("baselines")),
        "intervals": any(
            cell["interval"] for group in groups for row in group["rows"] for cell in row["cells"]
        ),
        "all_within_100": all(group["videos"] <= 100 for group in groups),
        "examples": shown,
        "moments": any(hit["moment"] for query in shown for hit in query["hits"]),
    }


def _query(row: dict, caption: dict, videos: dict[int, Video], looks: dict[int, dict]) -> dict:
    """`looks` is what is shown of each video: a strip of frames (None when they are gone), or texts."""
    scores = row["top_scores"]
    hits = []
    for position, index in enumerate(examples.shown_videos(row)):
        right = index == row["video"]
        hits.append(
            {
                "rank": position + 1 if position < len(scores) else row["rank"],
                "score": scores[position] if position < len(scores) else None,
                "right": right,
                "path": videos[index].path,
                **looks[index],
                "moment": _moment_bar(videos[index], caption) if right else None,
            }
        )
    return {**row, "text": caption["text"], "hits": hits}


def _video_strip(media: Media, video: Video) -> str | None:
    """Frames over the whole video, at the centres of equal parts."""
    positions = frames_in_moment(range(len(video.timestamps)), None, None, VIDEO_FRAMES)
    return media.strip(video, positions, VIDEO_HEIGHT, VIDEO_FRAMES)


def _moment_bar(video: Video, caption: dict) -> dict | None:
    """Where in the strip the described moment lies, in percent of its width."""
    length = video.length_s
    if not length or (caption["start_s"] is None and caption["end_s"] is None):
        return None
    start = min(max((caption["start_s"] or 0) / length, 0), 1)
    end = min(max((caption["end_s"] if caption["end_s"] is not None else length) / length, start), 1)
    return {"left": round(100 * start, 1), "width": round(100 * (end - start), 1)}


def _captioner(config: ReportConfig, metrics: dict, results: Path, media: Media) -> dict:
    found = captions.section(metrics["captioner"], metrics["corpus"])
    file = results / "captioner" / "captions_test.jsonl"
    measured = bool(found["languages"])
    moments = examples.choose_moments(examples.read_moments(file), config.examples) if measured else []
    videos = media.videos(moment.video for moment in moments)
    shown = [_moment(moment, videos[moment.video], media) for moment in moments]
    attributes = any(caption["attributes"] for moment in shown for caption in moment["captions"])
    return {**found, "examples": shown, "attributes": attributes}


def _moment(moment: examples.Moment, video: Video, media: Media) -> dict:
    positions = frames_in_moment(video.timestamps, moment.start_s, moment.end_s, MOMENT_FRAMES)
    return {
        "path": video.path,
        "start_s": moment.start_s,
        "end_s": moment.end_s,
        "strip": media.strip(video, positions, MOMENT_HEIGHT, MOMENT_FRAMES),
        "captions": [_caption(rows) for rows in moment.captions],
    }


def _caption(rows: list[dict]) -> dict:
    """A language's caption against its reference; with several references, against the most similar one."""
    row = max(rows, key=lambda row: similarity(row["reference"], row["generated"]))
    attributes = [
        {"kind": kind, "word": word, "right": row["right"][kind]} for kind, word in row["attributes"].items()
    ]
    words = mark_words(row["reference"], row["generated"])
    return {**row, "words": words, "attributes": attributes, "references": len(rows)}
