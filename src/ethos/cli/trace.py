"""`ethos trace`: the chain from a training row back to the clauses, the model calls and the verdicts."""

from __future__ import annotations

import json
from itertools import zip_longest

import typer

from ethos.cli.lookup import RUNS, all_runs, find_run
from ethos.cli.output import columns, indented
from ethos.errors import EthosError
from ethos.progress import harmless
from ethos.store.cache import Response, cache_directory, find_responses
from ethos.store.rows import Row
from ethos.store.run_directory import RunDirectory
from ethos.store.trace import find_row, find_rows, require_one


def show_row(row_id: str, run_name: str | None, *, with_calls: bool) -> None:
    """Prints the row whose id starts so, the runs that hold it, its lineage, and if wanted what its calls said.

    Raises EthosError if there is none, more than one, or a file of rows is damaged.
    """
    runs, row = _find_anywhere(row_id) if run_name is None else _find_in(find_run(run_name), row_id)
    lineage = row.lineage
    held = "run" if len(runs) == 1 else "runs"
    facts = [("row", f"{row.id} ({row.kind})"), (held, ", ".join(str(run.path) for run in runs))]
    facts.append(("recipe", lineage.recipe))
    digests = zip_longest(lineage.clause_ids, lineage.clause_digests, fillvalue="none")
    facts += [("clause", f"{clause_id} (digest {digest[:12]})") for clause_id, digest in digests]
    if lineage.contrast:
        facts.append(("contrast", "shows where the clause does not apply"))
    optional = {
        "capability": lineage.capability_source,
        "frame": lineage.frame_digest,
        "author": lineage.author,
        "family": lineage.family,
        "pool": lineage.pool,
    }
    facts += [(name, value) for name, value in optional.items() if value is not None]
    facts += [("call", key) for key in lineage.calls]
    facts += [("verdict", harmless(json.dumps(verdict, ensure_ascii=False))) for verdict in lineage.verdicts]
    facts += [("tokens spent", str(lineage.tokens))]
    typer.echo(columns(facts))
    typer.echo(f"\n{_content(row)}")
    if with_calls:
        responses = find_responses(cache_directory(), lineage.calls)
        for key in lineage.calls:
            typer.echo(f"\ncall {key}\n{_call(responses.get(key))}")


def _find_in(run: RunDirectory, row_id: str) -> tuple[list[RunDirectory], Row]:
    return [run], find_row(run, row_id)


def _find_anywhere(row_id: str) -> tuple[list[RunDirectory], Row]:
    """The runs that hold it, and the row as the first of them has it."""
    found = {run: find_rows(run, row_id) for run in all_runs()}
    if not any(found.values()):
        raise EthosError(
            f"none of the {len(found)} runs in {RUNS}/ has a row whose id starts with '{row_id}'; "
            "the ids stand in the files of a run's rows/, and --run names a run that lies elsewhere"
        )
    require_one(f"{RUNS}/", {id_ for rows in found.values() for id_ in rows}, row_id)
    holding = [run for run, rows in found.items() if rows]
    return holding, next(iter(found[holding[0]].values()))


def _call(response: Response | None) -> str:
    """Who was asked what, and the answer: its text, or an endpoint's as it came."""
    if response is None:
        return "not in the cache of this machine, or no longer"
    meta, answer = response.meta, json.loads(response.raw)
    asked = [f"{harmless(turn['role'])}\n{indented(turn['content'])}" for turn in meta["prompt"]]
    settings = harmless(json.dumps(meta["params"], ensure_ascii=False))
    facts = [("model", f"{meta['model']} ({meta['role']})"), ("draw", str(meta["draw"])), ("settings", settings)]
    return "\n".join([columns(facts), *asked, f"answer\n{indented(answer.get('text') or answer.get('raw') or '')}"])


def _content(row: Row) -> str:
    return "\n".join(f"{harmless(name)}\n{indented(text)}" for name, text in row.parts)
