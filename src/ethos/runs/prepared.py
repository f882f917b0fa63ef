"""The rows of a run as tokens, by objective; which can't be used, and what can't be trained without any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ethos.errors import EthosError
from ethos.models.templates import ChatTemplate
from ethos.store.config.knobs import OBJECTIVE_NAMES, Knobs
from ethos.store.config.training import TrainingConfig
from ethos.store.rows import Row, TaskRow
from ethos.training.batch import RowSize, TokenRow
from ethos.training.mixture import RowSet
from ethos.training.objectives.in_force import objectives_in_force


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows of one objective, as tokens, under the version of the file that holds them."""

    rows: RowSet
    tokens: tuple[TokenRow, ...]
    tasks: tuple[TaskRow, ...] = ()  # of an on-policy objective: what each row asks for
    reply_tokens: int = 0  # and the longest reply to it

    @property
    def sizes(self) -> frozenset[RowSize]:
        """Of what has to be computed at once: a pair, or one sequence."""
        single = {row.size.longest + self.reply_tokens for row in self.tokens if not row.is_whole}
        pairs = {row.size for row in self.tokens if row.is_whole}
        return frozenset(pairs | {RowSize(tokens, tokens, tokens) for tokens in single})


@dataclass(frozen=True, slots=True)
class PreparedRows:
    """What can be trained on, by objective; and of each objective how many rows it can't use, by reason."""

    objectives: dict[str, Prepared]
    left_out: dict[str, Counter[str]]

    def left_out_of(self, weights: Mapping[str, float]) -> dict[str, int]:
        """Those that objectives with a weight can't use: counts by objective and reason."""
        return {
            f"{name}: {reason}": count
            for name, reasons in self.left_out.items()
            for reason, count in reasons.items()
            if weights.get(name, 0) > 0
        }


def prepare_rows(template: ChatTemplate, config: TrainingConfig, version: str, rows: Sequence[Row]) -> PreparedRows:
    """Rows as tokens. Objectives without a row are not among `objectives`."""
    prepared, left_out = {}, {}
    tasks = {row.id: row for row in rows if isinstance(row, TaskRow)}
    for name, objective in objectives_in_force(config, Knobs()).items():
        reply = config.rollout_sizes[name].max_tokens if "replies" in objective.needs else 0
        found = objective.prepare(rows, template, config.context_tokens - reply)
        left_out[name] = found.left_out
        if found.rows:
            asked = tuple(tasks[row.row_id] for row in found.rows) if reply else ()
            row_set = RowSet(name, version, len(found.rows))
            prepared[name] = Prepared(row_set, tuple(found.rows), asked, reply)
    return PreparedRows(prepared, left_out)


def without_rows(config: TrainingConfig, prepared: Mapping[str, Prepared]) -> frozenset[str]:
    """The objectives that some stage would train, and that there is no row for."""
    trained = {name for name in OBJECTIVE_NAMES for stage in config.stages if stage.share_of(name) > 0}
    return frozenset(trained - prepared.keys())


def require_own_rows(
    template: ChatTemplate,
    config: TrainingConfig,
    weights: Mapping[str, float],
    rows: Sequence[Row],
    written: Collection[str],
) -> None:
    """As `require_rows`, before a teacher is asked: of own rows, for the objectives that no recipe writes for."""
    left_to_them = {name: weight for name, weight in weights.items() if name not in written}
    found = prepare_rows(template, config, "own", rows)
    require_rows(config, left_to_them, found.objectives, found.left_out_of(left_to_them))


def require_rows(
    config: TrainingConfig,
    weights: Mapping[str, float],
    prepared: Mapping[str, Prepared],
    rejected: Mapping[str, int],
) -> None:
    """Raises EthosError, with the commonest rejections, if an objective has weight in some stage and no row."""
    missing = without_rows(config, prepared)
    for name, weight in weights.items():
        if weight > 0 and name in missing:
            commonest = sorted(rejected.items(), key=lambda found: -found[1])[:3]
            why = "; ".join(f"{reason}: {count}" for reason, count in commonest) or "nothing was rejected"
            raise EthosError(
                f"mixture.{name} is {weight:g}, but there is no row for it ({why}); set it to 0 with "
                "`ethos adjust`, or start a run of another name with other models, an easier spec or rows of your own"
            )
