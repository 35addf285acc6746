"""The jobs of a configuration, as Snakemake itself plans them. The one module of the library that calls Snakemake."""

import logging
from math import inf
from pathlib import Path, PurePath
from typing import Any

import yaml

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.plan.estimate import PlannedJob
from workflow_scripts.lib.plan.scaling import job_name
from workflow_scripts.lib.status.record import SNAKEMAKE_LOGGER

SNAKEFILE = Path(__file__).parents[3] / "Snakefile"
BENCHMARKS_AND_RUN = 2  # folders above the benchmark files of a run


def read_configuration(file: Path) -> dict[str, Any]:
    """A configuration file as it stands; UserError when it is not there, or no YAML mapping."""
    try:
        found = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file}: cannot be read as YAML: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{file}: a configuration is a mapping, found {type(found).__name__}")
    return found


def planned_jobs(configfile: Path) -> list[PlannedJob]:
    """By a dry run in this folder that takes nothing for done.

    Corpus tables that are made already have no rule any more (rules/corpus.smk), and are not among the jobs.
    UserError where Snakemake cannot plan; it has said why on stderr.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

    jobs, logger = _Jobs(), logging.getLogger(SNAKEMAKE_LOGGER)
    with SnakemakeApi(OutputSettings(dryrun=True, enable_file_logging=False)) as snakemake:
        for handler in logger.handlers:
            handler.setLevel(logging.ERROR)  # it would print every job
        logger.addHandler(jobs)
        try:
            workflow = snakemake.workflow(
                ResourceSettings(cores=1), ConfigSettings(configfiles=[Path(configfile)]), snakefile=SNAKEFILE
            )
            workflow.dag(DAGSettings(forceall=True)).execute_workflow(executor="dryrun")
        except Exception as error:
            snakemake.print_exception(error)
            raise UserError(f"{configfile}: snakemake cannot plan it, for the reason above") from None
        finally:
            logger.removeHandler(jobs)
    return list(jobs.found.values())


class _Jobs(logging.Handler):
    """Keeps what Snakemake's events tell of each job."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, PlannedJob] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == "job_info" and record.output:
            self.found[record.jobid] = _planned(record)


def _planned(record: logging.LogRecord) -> PlannedJob:
    file = PurePath(record.benchmark) if record.benchmark else None
    path = PurePath(*file.parts[BENCHMARKS_AND_RUN:]) if file else PurePath(record.rule_name)
    return PlannedJob(
        job_name(path),
        tuple(record.input),
        tuple(record.output),
        measured=file is not None,
        priority=inf if record.priority == "highest" else record.priority,
    )
