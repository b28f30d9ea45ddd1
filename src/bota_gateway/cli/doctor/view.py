"""How findings are told: one line each below the name of its group, what to do below the line."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby

import click

from bota_gateway.cli import layout
from bota_gateway.cli.doctor.cases import Finding, Verdict

_SAID = {
    Verdict.OK: "ok",
    Verdict.WARNING: "warning",
    Verdict.FAILURE: "FAILURE",
    Verdict.NOT_CHECKED: "-",
}


def show(findings: Sequence[Finding]) -> None:
    """For people, at 80 columns or on a phone."""
    width = max(len(finding.check) for finding in findings)
    for group, members in groupby(findings, key=lambda finding: finding.group):
        click.secho(group, bold=True)
        for one in members:
            # Hung at the indentation of its remedy, not below its beginning: a phone has no room for that.
            click.echo(layout.wrapped(_words(one), f"  {_SAID[one.verdict]:<7}  {one.check:<{width}}  ", layout.INDENT))
            if one.remedy:
                click.echo(layout.wrapped(f"next: {one.remedy}"))
    click.echo(layout.wrapped(_summary(findings), ""))


def as_json(findings: Sequence[Finding]) -> dict[str, object]:
    """For programs."""
    return {
        "version": version("bota-gateway"),
        "at": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
        "verdict": worst(findings).value,
        "findings": [finding.as_json() for finding in findings],
    }


def worst(findings: Sequence[Finding]) -> Verdict:
    """Of all; what was not checked does not count."""
    found = {finding.verdict for finding in findings}
    return next((verdict for verdict in (Verdict.FAILURE, Verdict.WARNING) if verdict in found), Verdict.OK)


def _words(one: Finding) -> str:
    return f"not checked: {one.found}" if one.verdict is Verdict.NOT_CHECKED else one.found


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    told = (
        f"{counts[Verdict.OK]} ok",
        f"{counts[Verdict.WARNING]} warning" + "s" * (counts[Verdict.WARNING] != 1),
        f"{counts[Verdict.FAILURE]} failure" + "s" * (counts[Verdict.FAILURE] != 1),
        f"{counts[Verdict.NOT_CHECKED]} not checked",
    )
    return ", ".join(told)
