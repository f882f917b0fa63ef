"""A run's rows as a data set that others can open: Parquet, in the shapes that TRL expects, with a card."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ethos import __version__
from ethos.errors import EthosError
from ethos.models.embedded import EMBEDDED
from ethos.models.templates import TEMPLATE
from ethos.report.dataset_card import PRIVATE, Author, CardFacts, Spent, dataset_card
from ethos.runs.preparation import sources_of
from ethos.spec.types import Json
from ethos.store.config.run import RunConfig, load_config
from ethos.store.files import disk_errors_told, write_atomically
from ethos.store.ledger import Ledger
from ethos.store.parquet_rows import read_rows
from ethos.store.rows import DemonstrationRow, DocumentRow, PreferenceRow, Row, TaskRow, row_content
from ethos.store.run_directory import RunDirectory
from ethos.store.stages import Stages

CARD = "README.md"
_FILES = {
    DocumentRow.kind: "documents",
    DemonstrationRow.kind: "demonstrations",
    PreferenceRow.kind: "preferences",
    TaskRow.kind: "tasks",
}
_OPEN_VERDICT = re.compile(r"check [\w.:]+|hollow|sandbox: \w+")  # of judges whose name tells nothing of a model


def export_rows(run: RunDirectory, to: Path) -> dict[str, int]:
    """Writes the rows of a run and their card into a new or empty folder; rows by the name of their file.

    Raises EthosError if the run has no rows yet, or the folder holds something.
    """
    config = load_config(run.config_path)
    with run.read_database() as database:
        stages, totals = Stages(database), Ledger(database).totals()
        files, rejected = stages.payload("rows"), stages.counts("rows")
    if not isinstance(files, dict) or not files:
        raise EthosError(
            f"{run.path}: it has no rows, or they aren't all written yet; let `ethos run` go on, and export then"
        )
    to = to.resolve()
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise EthosError(f"{to}: holds something already; name a new folder, or an empty one")
    by_name = {name: read_rows(run.rows / str(files[kind])) for kind, name in _FILES.items() if kind in files}
    facts = CardFacts(
        name=run.name,
        version=__version__,
        files={name: len(rows) for name, rows in by_name.items()},
        recipes={name: dict(Counter(row.lineage.recipe for row in rows)) for name, rows in by_name.items()},
        sources=sources_of([row for rows in by_name.values() for row in rows]),
        authors=_authors(config),
        rejected={reason: count for reason, count in rejected.items() if count},
        spent=[Spent(role, total.calls, total.tokens, total.usd) for role, total in totals.items()],
        system_message=_told_system_message(config),
    )
    _write(to, by_name, dataset_card(facts))
    return dict(facts.files)


def _authors(config: RunConfig) -> list[Author]:
    """Who had a part in the rows; endpoints and directories are the user's own business."""
    models = config.models
    names = [("teacher", models.teacher), *(("chorus", voice.name) for voice in models.chorus)]
    names += [("judge", models.judge), ("student", models.student)]
    return [Author(role, *_told(name)) for role, name in names]


def _told(name: str) -> tuple[str | None, str | None]:
    form, _, rest = name.partition(":")
    if form == "embedded":
        return rest, EMBEDDED[rest].licence
    return (rest, None) if form == "hf" else (None, None)


def _told_system_message(config: RunConfig) -> str:
    if config.system_message is None:
        return "the student is trained, tasted and served without one."
    if config.system_message == TEMPLATE:
        return "the student is trained, tasted and served with the one that its chat template inserts."
    return f"the student is trained, tasted and served with this one: {' '.join(config.system_message.split())}"


def _record(row: Row) -> dict[str, Any]:
    return {**_content(row), "id": row.id, **_lineage(row)}


def _content(row: Row) -> dict[str, Any]:
    """As it is stored, but replies as turns, and without what only a teacher of this run sees."""
    content = row_content(row)
    if isinstance(row, PreferenceRow):
        content |= {side: [{"role": "assistant", "content": content[side]}] for side in ("chosen", "rejected")}
    content.pop("teacher_prompt", None)
    return content


def _lineage(row: Row) -> dict[str, Any]:
    lineage = row.lineage
    told = ("recipe", "capability_source", "frame_digest", "family", "contrast", "tokens")
    verdicts = [_verdict(verdict) for verdict in lineage.verdicts if isinstance(verdict, dict)]
    author = None if lineage.author is None else _told(lineage.author)[0] or PRIVATE
    lists = {"clause_ids": list(lineage.clause_ids), "verdicts": verdicts}
    return {**{name: getattr(lineage, name) for name in told}, "author": author, **lists}


def _verdict(verdict: dict[str, Json]) -> dict[str, Json]:
    """Without the judge's name and words, which may tell of a private model."""
    by = str(verdict["judge"])
    return {
        "clause_id": verdict["clause_id"],
        "score": verdict["score"],
        "by": by if _OPEN_VERDICT.fullmatch(by) else "judge",
    }


def _schema(kind: str) -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    turns = pa.list_(pa.struct([("role", text), ("content", text)]))
    content = {
        DocumentRow.kind: [("text", text), ("title", text)],
        DemonstrationRow.kind: [("messages", turns)],
        PreferenceRow.kind: [
            ("prompt", turns), ("chosen", turns), ("rejected", turns), ("probability", number), ("margin", number)
        ],
        TaskRow.kind: [("prompt", turns), ("answer", text)],
    }[kind]  # fmt: skip
    verdict = pa.struct([("clause_id", text), ("score", number), ("by", text)])
    lineage = [(name, text) for name in ("recipe", "capability_source", "frame_digest", "family", "author")]
    lineage += [("contrast", pa.bool_()), ("tokens", pa.int64()), ("clause_ids", pa.list_(text))]
    lineage.append(("verdicts", pa.list_(verdict)))
    return pa.schema([*content, ("id", text), *lineage])


def _write(to: Path, by_name: dict[str, list[Row]], card: str) -> None:
    """All or nothing: the folder gets its name once everything is in it."""
    import pyarrow
    import pyarrow.parquet

    with disk_errors_told(to), TemporaryDirectory(prefix=f".{to.name}.", dir=_made(to.absolute().parent)) as folder:
        made = Path(folder) / "whole"
        for name, rows in by_name.items():
            table = pyarrow.Table.from_pylist([_record(row) for row in rows], schema=_schema(rows[0].kind))
            buffer = io.BytesIO()
            pyarrow.parquet.write_table(table, buffer, compression="zstd")
            write_atomically(made / f"{name}.parquet", buffer.getvalue())
        write_atomically(made / CARD, card.encode())
        made.replace(to)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
