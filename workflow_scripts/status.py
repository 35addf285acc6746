"""Tell how a run stands: for each stage what is done, running and failed, and how long the rest takes.

To be called in the folder in which snakemake was started, while it runs or later. What it tells is the last call of
snakemake for that run. Times left go by the jobs finished so far; where none is, that is said instead. The sum at the
end is for steps one after another: those that run side by side make it shorter.
Exit code: 0 when all is done or going well, 1 when a job failed or was cut off, or the run stopped before its end.
"""

import argparse
import json
import signal
import time
from dataclasses import asdict

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.status.overview import overview
from workflow_scripts.lib.status.state import read_run
from workflow_scripts.lib.status.table import as_text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="name of the run, `run:` in its config file")
    parser.add_argument("--json", action="store_true", help="for programs: everything, as JSON")
    args = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` may stop reading
    found = overview(read_run(args.run), now=time.time())
    print(json.dumps(asdict(found), ensure_ascii=False, indent=2) if args.json else as_text(found))
    if found.is_in_trouble:
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
