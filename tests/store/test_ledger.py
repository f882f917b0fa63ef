from ethos.store.database import Database
from ethos.store.ledger import Ledger, ModelCall, Totals


def call(role: str, *, cached: bool = False, usd: float = 0.0) -> ModelCall:
    return ModelCall(role, "openai:x#m", "rows", 100, 20, cached, usd, "key")


def test_totals_are_by_role_and_cached_calls_cost_nothing(database: Database) -> None:
    ledger = Ledger(database)
    assert ledger.totals() == {}
    assert ledger.total() == Totals()
    ledger.add([call("teacher", usd=0.25), call("teacher", usd=0.5), call("teacher", cached=True, usd=9.0)])
    ledger.add([call("judge")])
    assert ledger.totals() == {
        "judge": Totals(calls=1, prompt_tokens=100, completion_tokens=20),
        "teacher": Totals(calls=3, cached=1, prompt_tokens=200, completion_tokens=40, usd=0.75),
    }
    assert ledger.total().calls == 4
    assert ledger.total().tokens == 360
