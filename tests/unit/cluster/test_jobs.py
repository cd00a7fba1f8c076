import pytest

from detectors.cluster.jobs import FAN_IN, Job, ThisProcess, tree


@pytest.mark.parametrize("count", [1, 2, FAN_IN - 1, FAN_IN, FAN_IN + 1, FAN_IN**2, FAN_IN**2 + 3, 5 * FAN_IN**2 + 11])
def test_a_tree_has_every_leaf_once_and_in_order(count: int) -> None:
    sizes: list[int] = []

    def join(nodes: list[list[int]]) -> list[int]:
        sizes.append(len(nodes))
        return [leaf for node in nodes for leaf in node]

    assert tree(([n] for n in range(count)), join) == list(range(count))
    assert all(2 <= size <= FAN_IN for size in sizes)
    assert sum(size - 1 for size in sizes) == count - 1


def test_the_shape_of_a_tree_follows_from_the_number_of_its_leaves() -> None:
    assert tree("abcdefghij", lambda nodes: f"({''.join(nodes)})") == "((abcdefgh)(ij))"


def test_few_nodes_are_kept_at_a_time() -> None:
    alive = most = 0

    def leaves():
        nonlocal alive, most
        for _ in range(FAN_IN**3):
            alive += 1
            most = max(most, alive)
            yield 1

    def join(nodes: list[int]) -> int:
        nonlocal alive
        alive -= len(nodes) - 1
        return sum(nodes)

    assert tree(leaves(), join) == FAN_IN**3
    assert most <= 3 * FAN_IN


def test_this_process_works_in_order_and_tells_how_far_it_is() -> None:
    seen: list[tuple[int, int]] = []
    jobs = [Job(divmod, (n, 3)) for n in range(5)]
    results = ThisProcess().map(jobs, lambda done, total: seen.append((done, total)))
    assert next(results) == (0, 0)
    assert seen == [(1, 5)]
    assert list(results) == [divmod(n, 3) for n in range(1, 5)]
    assert ThisProcess().reduce([Job(pow, (n, 2)) for n in range(20)], sum) == sum(n * n for n in range(20))
