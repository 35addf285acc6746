"""Make a folder of the trained CLIP that can be uploaded: there, open_clip loads it by `hf-hub:ORG/NAME`."""

import argparse
import re
import shutil
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import whole_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder that train_clip wrote")
    parser.add_argument("--repository", required=True, help="ORG/NAME that it will have on the hub")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", arguments.repository):
        raise UserError(f"--repository: {arguments.repository!r} is no ORG/NAME of the Hugging Face hub")

    from workflow_scripts.lib.clip.export import SETTINGS, prepare_for_hub

    if not (arguments.model / SETTINGS).is_file():
        raise UserError(f"{arguments.model}: no {SETTINGS} in it; give a folder that train_clip wrote")
    with whole_folder(arguments.folder, made_of=SETTINGS) as folder:
        shutil.copytree(arguments.model, folder, dirs_exist_ok=True)
        prepare_for_hub(folder, arguments.repository)
    print(
        f"{arguments.folder}: upload it with\n  hf upload {arguments.repository} {arguments.folder} .",
        flush=True,
    )


if __name__ == "__main__":
    run_command(main)
