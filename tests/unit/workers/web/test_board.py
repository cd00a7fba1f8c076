"""Images on the board: the newest wins, each browser at its own pace."""

import asyncio

from detectors.workers.web.board import Board, Wish

SIXTEEN: Wish = "JF", "16"
EIGHT: Wish = "JF", "8"
PICTURE: Wish = "JF", "jpeg"


def test_whoever_is_slow_gets_the_newest() -> None:
    async def scenario() -> list[tuple[int, bytes]]:
        board = Board()
        with board.waiting(SIXTEEN):
            board.post({SIXTEEN: b"one"})
            first = await board.next(SIXTEEN, 0)
            for message in (b"two", b"three"):
                board.post({SIXTEEN: message})
            second = await board.next(SIXTEEN, first.number)
            waiting = asyncio.create_task(board.next(SIXTEEN, second.number))
            await asyncio.sleep(0)
            assert not waiting.done()
            board.post({SIXTEEN: b"four"})
            return [tuple(found) for found in (first, second, await waiting)]

    assert asyncio.run(scenario()) == [(1, b"one"), (3, b"three"), (4, b"four")]


def test_only_what_somebody_waits_for_is_kept() -> None:
    async def scenario() -> None:
        board = Board()
        with board.waiting(EIGHT), board.waiting(PICTURE), board.waiting(EIGHT):
            assert (board.wanted, board.browsers) == ({EIGHT, PICTURE}, 2)
            board.post({EIGHT: b"old", SIXTEEN: b"not asked for", ("CAM", "8"): b"another detector's"})
            late = asyncio.create_task(board.next(SIXTEEN, 0))
            await asyncio.sleep(0)
            assert not late.done()
            late.cancel()
        assert (board.wanted, board.browsers) == (frozenset(), 0)
        with board.waiting(EIGHT):
            stale = asyncio.create_task(board.next(EIGHT, 0))
            await asyncio.sleep(0)
            assert not stale.done()
            board.post({EIGHT: b"new"})
            assert await stale == (2, b"new")

    asyncio.run(scenario())
