"""Draw the report: one HTML page that opens offline."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import FramesConfig, ReportConfig, load_section
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, whole_file
from workflow_scripts.lib.frames.extract import Settings
from workflow_scripts.lib.plan.summary import Plan
from workflow_scripts.lib.report.media import FrameSource, Media
from workflow_scripts.lib.report.page import build_page
from workflow_scripts.lib.report.plans import read_plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the frozen section `report`")
    parser.add_argument(
        "--results", type=Path, required=True, help="folder of the run, with metrics.json in it"
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus tables")
    of_frames = "none: the corpus is of imported features, which has no frames"
    parser.add_argument(
        "--frames", type=Path, nargs="?", help=f"folder of the frames and their status tables; {of_frames}"
    )
    parser.add_argument("--frames-config", type=Path, nargs="?", help="the frozen section `frames`")
    parser.add_argument(
        "--root", type=Path, nargs="?", help="folder of the videos, for pictures whose frames were removed"
    )
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument(
        "--benchmarks", type=Path, required=True, help="folder of Snakemake's benchmark files"
    )
    parser.add_argument("--rules", nargs="+", required=True, help="rules of the workflow, whose cost is told")
    parser.add_argument("--plan", type=Path, nargs="?", help="plan.json of the run, to hold its cost against")
    parser.add_argument("--report", type=Path, required=True, help="the page to write")
    args = parser.parse_args()

    config = load_section(ReportConfig, args.config)
    metrics = read_json(args.results / "metrics.json")
    frames = None
    if args.frames:
        settings = Settings.of(load_section(FramesConfig, args.frames_config))
        frames = FrameSource(args.frames, args.root, settings)
    with Media(args.corpus, args.shards, frames) as media:
        plan = plan_of(args.plan)
        page = build_page(config, metrics, args.results, media, args.benchmarks, args.rules, plan)
    with whole_file(args.report) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"{args.report}: {len(page.encode()) / 2**20:.1f} MiB", flush=True)


def plan_of(file: Path | None) -> Plan | None:
    """A plan that cannot be read is told of: the page of a long run is not worth less without it."""
    try:
        return read_plan(file) if file else None
    except UserError as error:
        print(f"the page is drawn without the plan: {error}", flush=True)
        return None


if __name__ == "__main__":
    run_command(main)
