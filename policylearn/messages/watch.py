"""Long work as whoever does it sees it: it says what it does and how far it is, and somebody may be looking."""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Work under way."""

    def advance(self, n: int = 1, label: str = "") -> None:
        """`n` more of it is done."""
        ...


class Unseen:
    """Progress that nobody looks at."""

    def advance(self, n: int = 1, label: str = "") -> None:
        pass


UNSEEN_PROGRESS = Unseen()


class Watch:
    """Nobody looks; whoever does overrides `begin`, see `console_watch.ConsoleWatch`.

    >>> list(Watch()("counting", [1, 2]))
    [1, 2]
    """

    def begin(self, work: str, total: int | None = None) -> AbstractContextManager[Progress]:
        """Work that begins, by name, with how much there will be of it; None if nobody knows."""
        return nullcontext(UNSEEN_PROGRESS)

    def __call__(
        self,
        work: str,
        items: Iterable[Item],
        total: int | None = None,
        size: Callable[[Item], int] = lambda item: 1,
    ) -> Iterator[Item]:
        """The same items, looked at while they flow.

        Args:
            work: its name, with what is counted in it: "saliency of labelled texts".
            items: a stream, or several with a length.
            total: how much there will be of it, unless that is the number of items, or nobody knows.
            size: how much of it one item is.
        """
        known = len(items) if total is None and isinstance(items, Sized) else total
        with self.begin(work, known) as progress:
            for item in items:
                yield item
                progress.advance(size(item))


UNSEEN = Watch()


class At(Watch):
    """Somebody who looks, and is told with every work whereabouts it is done."""

    def __init__(self, watch: Watch, place: str) -> None:
        self.watch, self.place = watch, place

    def begin(self, work: str, total: int | None = None) -> AbstractContextManager[Progress]:
        return self.watch.begin(f"{self.place}: {work}", total)
