"""`ethos trace`: the chain from a training row back to the clauses, the model calls and the verdicts."""

from __future__ import annotations

import json
from itertools import zip_longest

import typer

from ethos.cli.lookup import RUNS, all_runs, find_run
from ethos.cli.output import columns, harmless, indented
from ethos.errors import EthosError
from ethos.store.rows import DocumentRow, Row
from ethos.store.run_directory import RunDirectory
from ethos.store.trace import find_row


def show_row(row_id: str, run_name: str | None) -> None:
    """Prints the row whose id starts so, and its lineage. EthosError if there is none, or more than one."""
    run, row = _find_anywhere(row_id) if run_name is None else _find_in(find_run(run_name), row_id)
    lineage = row.lineage
    facts = [("row", f"{row.id} ({row.kind})"), ("run", str(run.path)), ("recipe", lineage.recipe)]
    digests = zip_longest(lineage.clause_ids, lineage.clause_digests, fillvalue="none")
    facts += [("clause", f"{clause_id} (digest {digest[:12]})") for clause_id, digest in digests]
    if lineage.contrast:
        facts.append(("contrast", "shows where the clause does not apply"))
    optional = {
        "capability": lineage.capability_source,
        "frame": lineage.frame_digest,
        "family": lineage.family,
        "pool": lineage.pool,
    }
    facts += [(name, value) for name, value in optional.items() if value is not None]
    facts += [("call", key) for key in lineage.calls]
    facts += [("verdict", harmless(json.dumps(verdict, ensure_ascii=False))) for verdict in lineage.verdicts]
    facts += [("tokens spent", str(lineage.tokens))]
    typer.echo(columns(facts))
    typer.echo(f"\n{_content(row)}")


def _find_in(run: RunDirectory, row_id: str) -> tuple[RunDirectory, Row]:
    return run, find_row(run, row_id)


def _find_anywhere(row_id: str) -> tuple[RunDirectory, Row]:
    runs = all_runs()
    for run in runs:
        try:
            return _find_in(run, row_id)
        except EthosError:
            continue  # not in this one
    raise EthosError(
        f"none of the {len(runs)} runs in {RUNS}/ has one row whose id starts with '{row_id}'; "
        "name the run with --run to see more"
    )


def _content(row: Row) -> str:
    if isinstance(row, DocumentRow):
        return f"{harmless(row.title)}\n{indented(row.text)}"
    return "\n".join(f"{m.role}\n{indented(m.content)}" for m in row.conversation.messages)
