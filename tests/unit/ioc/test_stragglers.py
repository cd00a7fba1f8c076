from ioc.stragglers import PATIENCE_S, RETRY_S, Stragglers


def test_who_differs_for_long_is_brought_along_and_again_later() -> None:
    watch = Stragglers()
    assert watch.due(["b"], 10.0) == []
    assert watch.due(["b"], 10.0 + PATIENCE_S - 0.1) == []
    assert watch.due(["b"], 10.0 + PATIENCE_S) == ["b"]
    assert watch.due(["b"], 10.0 + PATIENCE_S + RETRY_S - 0.1) == []
    assert watch.due(["b"], 10.0 + PATIENCE_S + RETRY_S) == ["b"]


def test_patience_begins_anew_for_who_agreed_in_between_or_was_away() -> None:
    watch = Stragglers()
    assert watch.due(["a"], 0.0) == []
    assert watch.due([], 0.9) == []
    assert watch.due(["a"], 1.1) == []
    assert watch.due(["a"], 1.1 + PATIENCE_S) == ["a"]
