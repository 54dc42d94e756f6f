"""The budget of a turn: how many steps it takes, and for how long."""

from datetime import timedelta

from workflows.chat.budget import NextStep, StepBudget

MINUTE = timedelta(minutes=1)


def test_the_last_step_has_no_tools_and_no_step_follows() -> None:
    budget = StepBudget(2, MINUTE)

    assert budget.next_step() == NextStep(1, may_use_tools=True, may_summarise=True)
    assert budget.next_step() == NextStep(2, may_use_tools=False, may_summarise=True)
    assert budget.next_step() is None
    assert budget.taken == 2


def test_a_summary_costs_no_step_and_is_not_asked_for_twice_in_a_row() -> None:
    budget = StepBudget(2, MINUTE)
    budget.next_step()

    assert budget.next_summary() == 2
    assert budget.next_step() == NextStep(3, may_use_tools=True, may_summarise=False)
    assert budget.next_step() == NextStep(4, may_use_tools=False, may_summarise=True)
    assert budget.next_step() is None


def test_a_turn_of_one_step_may_be_summed_up_too() -> None:
    budget = StepBudget(1, MINUTE)

    assert budget.next_step() == NextStep(1, may_use_tools=False, may_summarise=True)
    assert budget.next_summary() == 2
    assert budget.next_step() == NextStep(3, may_use_tools=False, may_summarise=False)
    assert budget.next_step() is None


def test_a_step_that_was_granted_is_taken() -> None:
    budget = StepBudget(1, MINUTE)
    budget.next_step()
    budget.grant_one()

    assert budget.next_step() == NextStep(2, may_use_tools=False, may_summarise=True)
    assert budget.next_step() is None


def test_time_is_up_when_all_of_it_is_spent() -> None:
    budget = StepBudget(9, MINUTE)
    budget.spend(timedelta(seconds=59))

    assert not budget.time_is_up()
    assert budget.time_left() == timedelta(seconds=1)

    budget.spend(timedelta(seconds=1))

    assert budget.time_is_up()
    assert budget.time_left() == timedelta(seconds=1)
