from ioc.turns import Turns


def test_few_workers_are_shown_whenever_something_changed() -> None:
    turns = Turns(16)
    assert turns.is_due("a", "Idle", 1.0, changed=True)
    assert turns.is_due("a", "Idle", 1.0, changed=True)
    assert not turns.is_due("a", "Idle", 2.0, changed=False)


def test_many_rest_and_what_waits_is_shown_afterwards() -> None:
    turns = Turns(41)
    assert turns.is_due("a", "Idle", 1.0, changed=True)
    assert not turns.is_due("a", "Idle", 1.5, changed=True)
    assert turns.is_due("b", "Idle", 1.5, changed=True)
    assert not turns.is_due("a", "Idle", 1.9, changed=False)
    assert turns.is_due("a", "Idle", 2.1, changed=False)
    assert not turns.is_due("a", "Idle", 9.0, changed=False)


def test_a_change_of_state_does_not_wait() -> None:
    turns = Turns(41)
    assert turns.is_due("a", "Receiving", 1.0, changed=True)
    assert turns.is_due("a", "Failed", 1.1, changed=True)
    assert not turns.is_due("a", "Failed", 1.2, changed=True)
