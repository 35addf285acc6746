"""Let the next run of snakemake try the videos again that gave no frames, once the cause is mended, and no others.

To be called in the folder in which snakemake is started. Shards without such videos stay as they are.
"""

import argparse
import shlex
from collections import Counter
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import Config, load_section
from workflow_scripts.lib.environment import hold_run_lock
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.reasons import REASONS
from workflow_scripts.lib.frames.retry import files_of, find_failed, prepare


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--configfile", type=Path, default=Path("config.yaml"), help="the run's configuration"
    )
    parser.add_argument(
        "--reason",
        nargs="+",
        choices=sorted(REASONS),
        default=sorted(REASONS),
        metavar="REASON",
        help=f"only videos that failed for one of these; default: all. Known: {', '.join(REASONS)}",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what there is")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    config = load_section(Config, args.configfile)
    if config.corpus.is_imported:
        raise UserError(
            f"{args.configfile}: its corpus is of imported features; there are no videos to try again"
        )
    hold_run_lock(Path(".snakemake/run.lock"))  # a running workflow may be at these shards
    found = find_failed(config, args.reason)
    given = [] if args.configfile == Path("config.yaml") else ["--configfile", str(args.configfile)]
    run = shlex.join(["snakemake", "--cores", "all", *given])
    if found.unfinished:
        print(f"{len(found.unfinished)} shards are not finished: a plain run tries all that is left of them")
    for shard, failed in found.removed.items():
        print(
            f"shard {shard:03d}: {_counts(failed)}; its frames were removed (frames.keep: false), so it cannot be "
            f"mended in part. To make all of it anew: {run} --forcerun {files_of(config, shard).tar}"
        )
    for shard, failed in found.again.items():
        print(f"shard {shard:03d}: {_counts(failed)}")
        if not args.dry_run:
            prepare(config, shard, args.reason)
    if not found.again:
        print("nothing to retry")
        return
    total = found.by_reason()
    print(f"{total.total()} videos in {len(found.again)} of {config.corpus.shards} shards: {_counts(total)}")
    then = "without --dry-run this makes them ready; then" if args.dry_run else "now"
    print(f"{then} run: {run}   (and your --profile, if you use one)")


def _counts(failed: Counter) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in failed.most_common())


if __name__ == "__main__":
    run_command(main)
