"""What each way to train is paid for: its mean cost in parts, as a figure."""

from dataclasses import dataclass

from ..optimizer.plan import PlannedJob
from . import words
from .content import Drawing, Table, cell
from .drawing import ACCENT, GREEN, ORANGE, PURPLE, VERMILLION, plain, stacked_rows, usd_axis
from .planned import rows


@dataclass(frozen=True, slots=True)
class CostBar:
    """The parts of one candidate's mean cost."""

    role: str
    instance: str
    setting: str
    compute_usd: float
    storage_usd: float
    egress_usd: float
    licence_usd: float
    labour_usd: float

    @property
    def parts_usd(self) -> tuple[float, ...]:
        """In the order of PARTS."""
        return (
            self.compute_usd,
            self.storage_usd,
            self.egress_usd,
            self.licence_usd,
            self.labour_usd,
        )

    @property
    def total_usd(self) -> float:
        return sum(self.parts_usd)


PARTS = (
    ("compute", ACCENT),
    ("storage", ORANGE),
    ("data moved out", GREEN),
    ("licences", PURPLE),
    ("labour", VERMILLION),
)


def cost_bars(job: PlannedJob) -> tuple[CostBar, ...]:
    return tuple(
        CostBar(
            role=row.role,
            instance=row.candidate.offer.instance_type,
            setting=f"{words.hardware(row.candidate.offer)}, {words.terms(row.candidate)}",
            compute_usd=row.candidate.predicted.cost_lines.compute,
            storage_usd=row.candidate.predicted.cost_lines.storage,
            egress_usd=row.candidate.predicted.cost_lines.egress,
            licence_usd=row.candidate.predicted.cost_lines.licence,
            labour_usd=row.candidate.predicted.cost_lines.labour,
        )
        for row in rows(job)
    )


def draw_costs(bars: tuple[CostBar, ...]) -> Drawing:
    parts = [
        (name, colour, [bar.parts_usd[k] for bar in bars]) for k, (name, colour) in enumerate(PARTS)
    ]
    figure = stacked_rows(
        [
            f"<b>{words.usd(bar.total_usd)}</b> {plain(_short(f'{bar.role}: {bar.instance}'))}"
            for bar in bars
        ],
        [part for part in parts if any(part[2]) or part[0] == "compute"],
        x=usd_axis("mean cost", [0.0, *(bar.total_usd for bar in bars)], rangemode="tozero"),
        say=lambda row, name, dollars: (
            f"{plain(bars[row].role)}: {name} {words.usd(dollars)}<br>{plain(bars[row].setting)}"
        ),
    )
    return Drawing(
        title="What is paid for",
        caption="Each bar is one candidate's mean cost, split into what it is paid for.",
        label="; ".join(f"{bar.role}: {words.usd(bar.total_usd)}" for bar in bars) + ".",
        figure=figure,
        data=Table(
            caption="Parts of the mean cost",
            heads=("What it is", "Offer", *(name for name, _ in PARTS), "in all"),
            rows=tuple(
                (
                    cell(bar.role),
                    cell(bar.setting),
                    *(cell(words.usd(part), key=part) for part in bar.parts_usd),
                    cell(words.usd(bar.total_usd), key=bar.total_usd),
                )
                for bar in bars
            ),
        ),
    )


def _short(name: str, most: int = 38) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
