"""Plan a run before it is paid for: jobs, hours of CPU and GPU, disk, wall time and cost, by what a pilot run took.

To be called in the folder in which snakemake is to be started. Every figure comes from the pilot: its benchmark files,
its logs, and what it left in results/ and resources/. A step that the pilot did not measure is named, and counts as
unknown. Cores are taken for those of the pilot's machine; a job holds as many cores and GPUs as it did there.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import parse_config
from workflow_scripts.lib.files import whole_file, write_json
from workflow_scripts.lib.plan.dry_run import planned_jobs, read_configuration
from workflow_scripts.lib.plan.pilot import read_pilot
from workflow_scripts.lib.plan.plan import make_plan
from workflow_scripts.lib.plan.summary import Prices
from workflow_scripts.lib.plan.table import as_text
from workflow_scripts.lib.report.page import render
from workflow_scripts.lib.report.plans import section


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--configfile", "--config", type=Path, required=True, help="configuration of the run to plan"
    )
    parser.add_argument(
        "--measured",
        type=Path,
        nargs="+",
        required=True,
        help="benchmarks-out/<run> of a pilot run, with its results beside it; of two that differ in size, the start "
        "of a job is told apart from its work",
    )
    parser.add_argument("--cores", type=int, help="cores of all machines together: tells the wall time")
    parser.add_argument("--gpus", type=int, help="GPUs of all machines together, beside --cores")
    parser.add_argument("--price-cpu-hour", type=float, help="of an hour of one core")
    parser.add_argument("--price-gpu-hour", type=float, help="of an hour of one GPU")
    parser.add_argument("--price-gb-month", type=float, help="of 10^9 bytes on the disk for a month")
    parser.add_argument(
        "--output", type=Path, help="where to write it; results/<run>/plan.json, which the run's report shows"
    )
    parser.add_argument("--page", type=Path, help="HTML page to write beside: the tables, and what runs when")
    arguments = parser.parse_args()
    if arguments.gpus is not None and arguments.cores is None:
        parser.error("--gpus tells nothing without --cores")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    config = parse_config(read_configuration(arguments.configfile))
    pilots = [read_pilot(folder) for folder in arguments.measured]
    plan = make_plan(
        planned_jobs(arguments.configfile),
        config,
        Path("resources", config.corpus.name),
        pilots,
        cores=arguments.cores,
        gpus=arguments.gpus or 0,
        prices=Prices(arguments.price_cpu_hour, arguments.price_gpu_hour, arguments.price_gb_month),
    )
    write_json(arguments.output or Path("results", config.run, "plan.json"), asdict(plan))
    if arguments.page:
        page = render({"title": f"Plan of {plan.run}", **section(plan)}, "plan.html.j2")
        with whole_file(arguments.page) as temporary:
            temporary.write_text(page, encoding="utf-8")
    print(as_text(plan))


if __name__ == "__main__":
    run_command(main)
