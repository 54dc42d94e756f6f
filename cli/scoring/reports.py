"""Reports on the screen: arms of experiments and models of tests, side by side."""

from typing import Any

from rich.console import Console
from rich.table import Table


def show_comparison(out: Console, report: dict[str, Any]) -> None:
    """Print the arms of a comparison, and how far they agree."""
    columns = ("arm", "leads", "mean", "won of ended", "best tenth won", "worst", "AUC")
    table = Table(*columns, box=None)
    for arm in report["arms"]:
        best, worst = (_rate(arm["deciles"][index]["conversion"]) for index in (0, -1))
        leads, mean = f"{arm['leads']:,}", f"{arm['mean_score']:.1f}"
        area = "-" if arm["auc"] is None else f"{arm['auc']['value']:.2f}"
        table.add_row(arm["arm"], leads, mean, _rate(arm["conversion"]), best, worst, area)
    out.print(table)
    for pair in report["agreement"]:
        correlation = pair["correlation"]
        text = "" if correlation is None else f"correlation {correlation:.2f}, "
        out.print(
            f"  {pair['arms'][0]} and {pair['arms'][1]}: {text}{pair['within_five']:.0%} within "
            f"five points, {pair['best_tenth']:.0%} of the best tenth in common."
        )


def _rate(conversion: dict[str, Any]) -> str:
    if conversion["rate"] is None:
        return "-"
    low, high = conversion["low"], conversion["high"]
    return f"{conversion['rate']:.0%} ({low:.0%} to {high:.0%})"
