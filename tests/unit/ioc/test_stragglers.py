from detectors.run_state import RunState
from ioc.stragglers import PATIENCE_S, RETRY_S, Stragglers

WISH, OTHER = RunState.ENABLED, RunState.RUNNING


def test_who_differs_for_long_is_brought_along_and_again_later() -> None:
    watch = Stragglers()
    states = {"a": WISH, "b": OTHER}
    assert watch.due(states, WISH, 10.0) == []
    assert watch.due(states, WISH, 10.0 + PATIENCE_S - 0.1) == []
    assert watch.due(states, WISH, 10.0 + PATIENCE_S) == ["b"]
    assert watch.due(states, WISH, 10.0 + PATIENCE_S + RETRY_S - 0.1) == []
    assert watch.due(states, WISH, 10.0 + PATIENCE_S + RETRY_S) == ["b"]


def test_patience_begins_anew_for_who_agreed_in_between_or_was_away() -> None:
    for gap in ({"a": WISH}, {}):
        watch = Stragglers()
        assert watch.due({"a": OTHER}, WISH, 0.0) == []
        assert watch.due(gap, WISH, 0.9) == []
        assert watch.due({"a": OTHER}, WISH, 1.1) == []
        assert watch.due({"a": OTHER}, WISH, 1.1 + PATIENCE_S) == ["a"]
