"""Build the W&B dashboard of the runs: ``python -m experiments.wandb_workspace entity=<you> [project=multiscale]``.

Four sections: scores, boundaries, clocks and cost; runs are grouped as the logger groups them, by configuration
without seed. ``dry_run=true`` needs no account: it prints what would be built, checked by the package's own classes.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from multiscale.checks import InvalidInput
from multiscale.cli import arguments, command
from multiscale.config.compose import CONF

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

STEP = "trainer/global_step"


def monitored() -> list[str]:
    """Every task's monitored metric, without its split."""
    return sorted({OmegaConf.load(path).monitor.removeprefix("val/") for path in (CONF / "task").glob("*.yaml")})


def sections() -> "list[Section]":
    """What the dashboard shows, from the top."""
    from wandb_workspaces.reports.v2 import BarPlot, LinePlot, MediaBrowser, ScatterPlot, SummaryMetric
    from wandb_workspaces.workspaces import Section

    def lines(title: str, pattern: str, log: bool = False) -> LinePlot:
        return LinePlot(title=title, x=STEP, metric_regex=pattern, log_y=log)

    best = [SummaryMetric(f"best/{name}") for name in monitored()]
    scores = [
        BarPlot(title="Best on validation", metrics=best, groupby="Group"),
        lines("Validation", r"val/.*"),
        LinePlot(title="Training", x=STEP, y=[f"train/{name}" for name in monitored()]),
        lines("Test", r"test/.*"),
    ]
    boundaries = [
        lines("F1 of each level", r"trace/f1.*"),
        lines("Boundaries per step", r"trace/boundary_.*"),
        MediaBrowser(title="Boundaries on validation text", media_keys=["figures/boundaries"], gallery_axis="run"),
    ]
    clocks = [
        lines("Periods (steps)", r"trace/period_.*", log=True),
        lines("Updates per step", r"trace/update_.*"),
        MediaBrowser(title="Periods over the epochs", media_keys=["figures/periods"], gallery_axis="run"),
        MediaBrowser(title="When each level updates", media_keys=["figures/raster"], gallery_axis="run"),
    ]
    cost = [
        lines("Share of a stacked LSTM's updates", r"trace/operations"),
        ScatterPlot(title="Score for updates", x=SummaryMetric("trace/operations"), y=SummaryMetric("best/bpc")),
        BarPlot(title="Parameters", metrics=[SummaryMetric("cost/parameters")], groupby="Group"),
        BarPlot(title="Seconds", metrics=[SummaryMetric("cost/seconds")], groupby="Group"),
    ]
    named = {"scores": scores, "boundaries": boundaries, "clocks": clocks, "cost": cost}
    return [Section(name=name, panels=panels, is_open=True) for name, panels in named.items()]


def workspace(entity: str, project: str) -> "Workspace":
    """The dashboard, on this side of the network.

    Raises:
        InvalidInput: without the package that describes it.
    """
    try:
        from wandb_workspaces.expr import Metric
        from wandb_workspaces.workspaces import RunsetSettings, Workspace, WorkspaceSettings
    except ImportError as error:
        raise InvalidInput(f"it needs wandb-workspaces: pip install 'multiscale-rnn[workspace]' ({error}).") from error
    return Workspace(
        entity=entity,
        project=project,
        name="multiscale",
        sections=sections(),
        settings=WorkspaceSettings(x_axis=STEP, max_runs=20),
        runset_settings=RunsetSettings(groupby=[Metric("Group")]),
    )


def outline(built: "Workspace") -> Iterator[str]:
    """A line for each section and panel, as it would be sent."""
    for section in built._to_model().spec.section.panel_bank_config.sections:
        yield section.name
        for panel in section.panels:
            config = panel.model_dump(by_alias=True, exclude_none=True)["config"]
            shown = config.get("metricRegex") or config.get("metrics") or config.get("mediaKeys") or config.get("yAxis")
            yield f"  {panel.view_type}: {config.get('chartTitle')} ({shown})"


def main(words: list[str]) -> None:
    """The command line."""
    given = arguments(words, {"entity": "", "project": "multiscale", "dry_run": False})
    if not given["entity"] and not given["dry_run"]:
        raise InvalidInput("entity must be given, as entity=<your W&B user or team>; or dry_run=true.")
    built = workspace(given["entity"] or "nobody", given["project"])
    for line in outline(built):
        print(line)
    if not given["dry_run"]:
        built.save()
        print(built.url)


if __name__ == "__main__":
    command(main, __doc__ or "")
