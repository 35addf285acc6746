"""Write the generated pages of docs/ from the config models and the annotation formats (`make docs`)."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config_docs import annotations_markdown, json_schema, markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("docs"), help="where the pages go")
    folder = parser.parse_args().folder
    (folder / "config.md").write_text(markdown(), encoding="utf-8")
    (folder / "config.schema.json").write_text(json_schema(), encoding="utf-8")
    (folder / "annotations.md").write_text(annotations_markdown(), encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
