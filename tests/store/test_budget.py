import threading

import pytest

from ethos.errors import EthosError
from ethos.store.budget import Budget, BudgetSpent
from ethos.store.config_sections import BudgetConfig


def test_no_call_is_admitted_past_the_limit() -> None:
    budget = Budget(BudgetConfig(tokens=1000))
    budget.reserve(600)
    budget.reserve(400)
    with pytest.raises(BudgetSpent, match=r"budget\.tokens is 1000, 1000 are spent or held, .* may take 1;"):
        budget.reserve(1)
    assert issubclass(BudgetSpent, EthosError)


def test_settling_gives_back_what_was_not_used() -> None:
    budget = Budget(BudgetConfig(tokens=1000, usd=1.0))
    reservation = budget.reserve(1000, 1.0)
    budget.settle(reservation, 300, 0.25)
    budget.reserve(700, 0.75)
    with pytest.raises(BudgetSpent):
        budget.reserve(1)


def test_a_failed_call_takes_nothing() -> None:
    budget = Budget(BudgetConfig(tokens=100))
    budget.settle(budget.reserve(100), 0)
    budget.reserve(100)


def test_a_reservation_is_settled_once() -> None:
    budget = Budget(BudgetConfig())
    first, _alike = budget.reserve(5), budget.reserve(5)
    budget.settle(first, 5)
    with pytest.raises(KeyError):
        budget.settle(first, 5)


def test_money_and_time_are_limits_too() -> None:
    with pytest.raises(BudgetSpent, match=r"budget\.usd"):
        Budget(BudgetConfig(usd=0.5)).reserve(10, 0.51)
    now_s = 0.0
    budget = Budget(BudgetConfig(minutes=2), minutes=1.5, clock=lambda: now_s)
    now_s = 29.0
    budget.reserve(1)
    now_s = 31.0
    with pytest.raises(BudgetSpent, match=r"budget\.minutes"):
        budget.reserve(1)


def test_earlier_sittings_count() -> None:
    with pytest.raises(BudgetSpent):
        Budget(BudgetConfig(tokens=1000), tokens=950).reserve(51)


def test_no_limit_is_no_limit() -> None:
    budget = Budget(BudgetConfig())
    for _ in range(3):
        budget.reserve(10**12, 1e9)


def test_threads_together_stay_within_the_limit() -> None:
    budget = Budget(BudgetConfig(tokens=500))
    admitted: list[int] = []

    def work() -> None:
        for _ in range(100):
            try:
                budget.reserve(1)
            except BudgetSpent:
                return
            admitted.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 500
