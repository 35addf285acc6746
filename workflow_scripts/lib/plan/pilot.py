"""A pilot run, as it was measured: what each job took, what it worked on, and what it left on the disk."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.lib.config import (
    CaptionerConfig,
    ClipConfig,
    Config,
    RetrievalConfig,
    freeze,
    freeze_named,
    load_section,
)
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json
from workflow_scripts.lib.nested import differing
from workflow_scripts.lib.plan.items import Items, corpus_items, total
from workflow_scripts.lib.plan.scaling import SCALING, Name, Work, job_name
from workflow_scripts.lib.report.benchmarks import benchmark_rows, log_of
from workflow_scripts.lib.status.progress import EPOCH, is_taken_up, logged
from workflow_scripts.lib.status.record import run_file

FROZEN = {
    "frames": "frames",
    "clip": "clip",
    "retrieval": "retrieval",
    "captioner_stage2": "captioner",
    "captioner_generation": "captioner.generation",
    "captioner_evaluation": "captioner.evaluation",
}
"""What a run froze that decides how much work its stages are, and where in a configuration it stands. Stage 2 of the
captioner depends on all of its section but what runs, generates and evaluates."""
FOLLOWED = {"epochs", "train_shard_size", "steps_per_epoch", "index"}
"""Keys of these sections that the plan reckons with; where others differ, the measurements are of other work."""


@dataclass(frozen=True)
class Measured:
    """What a job took. `cpu_s` is of all its processes."""

    name: Name
    amount: float
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Pilot:
    """A run that is finished, or far enough; `root` is the folder that snakemake worked in."""

    root: Path
    run: str
    corpus: str
    shards: list[Items]
    diary: dict[str, Any]
    failures: Counter[str]

    @property
    def resources(self) -> Path:
        return self.root / "resources" / self.corpus

    @property
    def results(self) -> Path:
        return self.root / "results" / self.run

    @cached_property
    def items(self) -> Items:
        return total(self.shards)

    @cached_property
    def held(self) -> dict[str, tuple[int, int]]:
        """Cores and GPUs that a job of each rule held."""
        return {rule["name"]: (rule["cores"], rule["gpus"]) for rule in self.diary["rules"]}

    # A pilot's own sections, as far as its stages are on: what scaling.Work asks for.
    @cached_property
    def clip(self) -> ClipConfig:
        return load_section(ClipConfig, self.frozen("clip"))

    @cached_property
    def retrieval(self) -> RetrievalConfig:
        """The splits of the index are not frozen: by those of the index that is there."""
        index = self.results / "retrieval/index/index.json"
        splits = read_json(index)["splits"] if index.is_file() else []
        return load_section(RetrievalConfig, self.frozen("retrieval")).model_copy(update={"index": splits})

    @cached_property
    def captioner(self) -> CaptionerConfig:
        return load_section(CaptionerConfig, self.frozen("captioner_stage2"))

    def frozen(self, name: str) -> Path:
        """The file of a frozen section."""
        return (self.resources if name == "frames" else self.results) / "config" / f"{name}.yaml"

    def amount(self, name: Name) -> float:
        items = self.items if name.shard is None else self.shards[name.shard]
        return SCALING[name.rule].amount(Work(items, self, name.variant))

    @cached_property
    def jobs(self) -> list[Measured]:
        """Jobs that left a benchmark file with their time in it, of rules whose scaling is known."""
        return list(self._jobs())

    def _jobs(self) -> Iterator[Measured]:
        folder = self.root / "benchmarks-out" / self.run
        for file in sorted(folder.rglob("*.tsv")):
            name = job_name(file.relative_to(folder))
            if name.rule not in SCALING or (name.shard or 0) >= len(self.shards):
                continue
            share = self._share_done(name.rule, log_of(file, folder))
            for row in benchmark_rows(file, folder) if share else []:
                if row["seconds"] == row["seconds"]:
                    yield Measured(name, share * self.amount(name), row["seconds"], row["cpu_seconds"])

    @cached_property
    def taken_up(self) -> list[str]:
        """Trainings that went on from a checkpoint: how much of them was measured is not known."""
        logs = self.root / "logs" / self.run
        return [rule for rule in EPOCH if is_taken_up(logs / f"{rule}.log")]

    def _share_done(self, rule: str, log: Path) -> float:
        """By the attempt that was measured: what an earlier one had done, it only took up. 0 where that is not known."""
        if rule in self.taken_up:
            return 0.0
        made = logged(rule, log, {})
        return 1 - made.before / made.total if made else 1.0


def read_pilot(benchmarks: Path) -> Pilot:
    """By its folder of benchmark files, `benchmarks-out/<run>`; results, logs and tables lie beside that folder.

    UserError when one of them is missing.
    """
    folder = Path(benchmarks).resolve()
    if folder.parent.name != "benchmarks-out" or not folder.is_dir():
        raise UserError(
            f"{benchmarks}: the folder of a run's benchmark files is expected, benchmarks-out/<run>; "
            "its results and logs are looked for beside benchmarks-out"
        )
    root = folder.parents[1]
    file = root / run_file(folder.name)
    try:
        diary, *events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        failures = Counter(_failed(events))
        shards = corpus_items(root / "resources" / diary["corpus"], diary["shards"])
        pilot = Pilot(root, folder.name, diary["corpus"], shards, diary, failures)
        _ = pilot.held, diary["executor"]  # told here, if it is not in the file
        return pilot
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: cannot be read as the diary of the pilot run ({error!r}); it is written while snakemake runs: "
            "run the pilot with this version, in its own folder"
        ) from None


def differences(pilot: Pilot, config: Config) -> Iterator[str]:
    """Settings of the stages that a configuration has other than the pilot, but for those that are reckoned with."""
    for section, file, text in _frozen_then_and_now(pilot, config):
        if file.is_file():
            then = yaml.safe_load(file.read_text(encoding="utf-8"))
            for key, was, here in differing(then, yaml.safe_load(text), section):
                if key.rpartition(".")[2] not in FOLLOWED:
                    yield f"{key} was {was!r} in the pilot {pilot.run} and is {here!r} here"


def _frozen_then_and_now(pilot: Pilot, config: Config) -> Iterator[tuple[str, Path, str]]:
    """Where a section stands, the pilot's file of it, and what the configuration would write there."""
    for name, section in FROZEN.items():
        if getattr(getattr(config, section.partition(".")[0]), "enabled", True):
            yield section, pilot.frozen(name), freeze_named(config, name)
    for encoder in config.features.encoders:
        if encoder.kind != "imported":
            place = pilot.results if encoder.kind == "trained_clip" else pilot.resources
            file = place / "features" / encoder.name / "encoder.yaml"
            yield f"features.encoders.{encoder.name}", file, freeze(encoder)


def _failed(events: list[dict]) -> Iterator[str]:
    """The rule of every job that came to no end at first."""
    rules = {event["id"]: event["rule"] for event in events if event["event"] == "start"}
    return (rules[event["id"]] for event in events if event["event"] == "fail")
