"""Images on the board: the newest wins, each browser at its own pace."""

import asyncio

from detectors.workers.web.board import Board


def test_whoever_is_slow_gets_the_newest() -> None:
    async def scenario() -> list[tuple[int, bytes]]:
        board = Board()
        with board.waiting("16"):
            board.post({"16": b"one"})
            first = await board.next("16", 0)
            for message in (b"two", b"three"):
                board.post({"16": message})
            second = await board.next("16", first.number)
            waiting = asyncio.create_task(board.next("16", second.number))
            await asyncio.sleep(0)
            assert not waiting.done()
            board.post({"16": b"four"})
            return [tuple(found) for found in (first, second, await waiting)]

    assert asyncio.run(scenario()) == [(1, b"one"), (3, b"three"), (4, b"four")]


def test_only_what_somebody_waits_for_is_kept() -> None:
    async def scenario() -> None:
        board = Board()
        with board.waiting("8"), board.waiting("jpeg"), board.waiting("8"):
            assert (board.wanted, board.browsers) == ({"8", "jpeg"}, 2)
            board.post({"8": b"old", "16": b"nobody's"})
            late = asyncio.create_task(board.next("16", 0))
            await asyncio.sleep(0)
            assert not late.done()
            late.cancel()
        assert (board.wanted, board.browsers) == (frozenset(), 0)
        with board.waiting("8"):
            stale = asyncio.create_task(board.next("8", 0))
            await asyncio.sleep(0)
            assert not stale.done()
            board.post({"8": b"new"})
            assert await stale == (2, b"new")

    asyncio.run(scenario())
