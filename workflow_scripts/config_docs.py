"""Write docs/config.md and docs/config.schema.json from the config models (`make docs`)."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config_docs import json_schema, markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, default=Path("docs/config.md"), help="the page for readers")
    parser.add_argument(
        "--schema", type=Path, default=Path("docs/config.schema.json"), help="the JSON schema for editors"
    )
    args = parser.parse_args()
    args.markdown.write_text(markdown(), encoding="utf-8")
    args.schema.write_text(json_schema(), encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
