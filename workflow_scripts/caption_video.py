"""Caption video files with a trained captioner, in every language that it learned.

    python -m workflow_scripts.caption_video --model results/demo/captioner/stage2 --video cat.mp4 --start 3 --end 8

Frames are chosen, stored and encoded as those of the training were. A video that cannot be read is named, with the reason.
"""

import argparse
import json
import sys
from pathlib import Path

from workflow_scripts.lib.captioner.inputs import start
from workflow_scripts.lib.captioner.live import LiveFeatures, Moment, Seen
from workflow_scripts.lib.captioner.trained import open_trained
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments
from workflow_scripts.lib.errors import UserError

TOGETHER = 16  # videos whose frames are in memory


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of train_captioner_stage1 or 2")
    parser.add_argument("--video", type=Path, nargs="+", required=True, help="video files")
    parser.add_argument("--start", type=float, help="where the moment begins, in seconds (the beginning)")
    parser.add_argument("--end", type=float, help="where it ends (the end)")
    help_clip = "choose frames as if the moment were a video of its own; else, of those of the whole video"
    parser.add_argument("--clip", action="store_true", help=help_clip)
    parser.add_argument("--language", nargs="+", help="languages to write (all that it learned)")
    parser.add_argument("--json", action="store_true", help="a JSON object a video, each on a line")
    parser.add_argument(
        "--generation", type=Path, help="RUN/config/captioner_generation.yaml (default: greedy)"
    )
    parser.add_argument("--language-model", help="hub id or folder, if it is no longer where it was")
    parser.add_argument("--trained-clip", type=Path, help="folder of train_clip, if it is no longer there")
    add_compute_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    moment = Moment(arguments.start, arguments.end, arguments.clip)
    device = start(arguments)
    # JSON is UTF-8 wherever it goes; names that a terminal has no letters for are escaped
    sys.stdout.reconfigure(errors="backslashreplace", **({"encoding": "utf-8"} if arguments.json else {}))
    live = LiveFeatures(arguments.model, device, arguments.trained_clip)
    captioner = open_trained(
        arguments.model, device, generation=arguments.generation, language_model=arguments.language_model
    )
    languages = arguments.language or list(captioner.prompts)
    videos, failed = arguments.video, 0
    for first in range(0, len(videos), TOGETHER):
        some = videos[first : first + TOGETHER]
        found = live.see(some, moment, captioner.settings.frames, arguments.threads)
        for video, seen in zip(some, found, strict=True):
            if isinstance(seen, str):
                failed += 1
                print(seen, file=sys.stderr, flush=True)
            else:
                show(video, seen, captioner.captions(seen, languages, arguments.seed), arguments.json)
    if failed:
        raise UserError(f"{failed} of {len(videos)} videos gave no captions; the reasons stand above")


def show(video: Path, seen: Seen, captions: dict[str, str], as_json: bool) -> None:
    times = [round(time, 3) for time in seen.times]
    if as_json:
        row = {"video": str(video), "frames_s": times, "captions": captions}
        print(json.dumps(row, ensure_ascii=False), flush=True)
    else:
        print(f"{video} (frames at {', '.join(f'{time:g}' for time in times)} s)")
        print(*(f"  {language}: {text}" for language, text in captions.items()), sep="\n", flush=True)


if __name__ == "__main__":
    run_command(main)
