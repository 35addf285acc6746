"""What a plan tells: rows of its tables, sums, and the machines and prices that it is for."""

from dataclasses import dataclass
from typing import Any

from workflow_scripts.lib.plan.disk import Disk
from workflow_scripts.lib.plan.items import Items

HOUR = 3600


@dataclass(frozen=True)
class RulePlan:
    """A rule's jobs, or those of one of its variants, together. Hours are None where `unknown` says why.

    `core_h` and `gpu_h` are held, `cpu_h` is used; `longest_h` is the wall time of the longest job, and `fixed_s` and
    `per_item_s` are the line that wall times were reckoned by.
    """

    rule: str
    variant: str
    jobs: int
    unit: str | None
    amount: float
    cores: int
    gpus: int
    cpu_h: float | None
    core_h: float | None
    gpu_h: float | None
    longest_h: float | None
    fixed_s: float | None
    per_item_s: float | None
    unknown: str | None
    note: str | None


@dataclass(frozen=True)
class Wall:
    """The time that a run takes on `cores` and `gpus`. `chain_h`: the longest chain of jobs that wait for each other,
    which more machines do not shorten; `cores_busy`: share of the cores' time that jobs hold."""

    cores: int
    gpus: int
    hours: float
    chain_h: float
    cores_busy: float


@dataclass(frozen=True)
class Prices:
    """In any currency; None where it is not asked for."""

    cpu_hour: float | None = None
    gpu_hour: float | None = None
    gb_month: float | None = None


@dataclass(frozen=True)
class Plan:
    """`items_exact`: counted, or at most so many. Sums are of what is known; `unknown` names the rest."""

    run: str
    pilots: list[dict[str, Any]]
    items: Items
    items_exact: bool
    rules: list[RulePlan]
    disk: list[Disk]
    frames: Disk | None
    wall: Wall | None
    cost: dict[str, float] | None
    warnings: list[str]
    timeline: dict[str, list[float]]
    """By step, the cores held in each of so many equal parts of the wall time."""

    @property
    def unknown(self) -> list[str]:
        return [f"{rule.rule} {rule.variant}".strip() for rule in self.rules if rule.unknown]

    def sum(self, what: str) -> float:
        return sum(getattr(rule, what) or 0.0 for rule in self.rules)

    @property
    def disk_bytes(self) -> float:
        frames = [self.frames] if self.frames else []
        return sum(entry.bytes or 0.0 for entry in [*self.disk, *frames])
