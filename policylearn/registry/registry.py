"""Names and the things they stand for, which others may add to; modules that do."""

import difflib
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, TypeVar

from policylearn.messages.quote import quote

Thing = TypeVar("Thing")
AUTO = "auto"
"""In place of a name: the data say which."""
MARKS = ":@"
"""What ends a name and says more of it, as in "idf:rank" and "probe@200"."""


@dataclass(frozen=True)
class Origin:
    """Where a thing was registered.

    Attributes:
        module: the name of the module.
        place: "<module>", or the function in which it was, unless importing a module calls that.
        file: with the code, which one imports under one name and another under another; empty: not known.
    """

    module: str
    place: str
    file: str = field(default="", compare=False)

    @classmethod
    def of(cls, frame: FrameType) -> "Origin":
        """Of what registers, by its frame: the top of a module, be it by way of a function, of another one perhaps."""
        own = frame.f_globals["__name__"]
        tops = (caller for caller in _callers(frame) if caller.f_code.co_name == "<module>")
        frame = next((top for top in tops if top.f_globals["__name__"] == own or _is_found(top.f_globals)), frame)
        module, code = frame.f_globals["__name__"], frame.f_code
        file = os.path.realpath(code.co_filename) if os.path.isfile(code.co_filename) else ""
        return cls(module, code.co_name, file)

    def is_again(self, earlier: "Origin | None") -> bool:
        """Whether it is where a thing was registered before: in the same place, of a file that is imported under
        another name perhaps, as a script is that others import."""
        if earlier is None or not self.file:
            return self == earlier
        return self == earlier or (self.file, self.place) == (earlier.file, earlier.place)

    @property
    def stuck(self) -> str:
        """Why no other process finds it by importing the module; nothing where it does.

        >>> Origin("their_parts", "<module>").stuck, Origin("__main__", "<module>").stuck
        ('', 'a script or notebook, which other processes cannot import')
        """
        if self.module == "__main__":
            return "a script or notebook, which other processes cannot import"
        return "" if self.place == "<module>" else f"the function {self.place}, which no import of a module calls"


class Registry:
    """Names → things of one kind, which others may add to by entry points of the group ``policylearn.<kind>``.

    Args:
        kind: in the plural, as in the name of the group.
        members: ours: name → "module:attribute". No other distribution replaces one of them.
        taken: names that mean something else where one of these is named.
        needs: what each of them has; empty: it is a function, or a class to be called.

    >>> codecs = Registry("codecs", {"json": "json:loads", "hex": "binascii:unhexlify"})
    >>> codecs.get("json")("[1]"), codecs.names(), "hex" in codecs
    ([1], ['json', 'hex'], True)
    >>> codecs.get("jsn")
    Traceback (most recent call last):
    ...
    ValueError: unknown codec 'jsn'; known: ['hex', 'json']; did you mean 'json'?
    """

    def __init__(
        self, kind: str, members: Mapping[str, Any], taken: Collection[str] = (), needs: Collection[str] = ()
    ) -> None:
        self.kind, self.members, self.taken, self.needs = kind, dict(members), taken, needs
        self.origins: dict[str, Origin] = {}
        """Of what was registered in this process."""

    def __contains__(self, name: str) -> bool:
        return name in self.members or (name in self._brought() and not self._unfit(name))

    def names(self) -> list[str]:
        """All that are known: ours in our order, then those of others; nothing is imported for it."""
        brought = self._brought().keys() - self.members.keys()
        return [*self.members, *sorted(name for name in brought if not self._unfit(name))]

    def check(self, name: str) -> str:
        """The name, if it is known.

        Raises:
            ValueError: it is not; with those that are, and the nearest. Or it cannot be one.
        """
        if name not in self.members and name in (brought := self._brought()) and (why := self._unfit(name)):
            by = ", ".join(map(_distribution, brought[name]))
            raise ValueError(f"{self.noun} {name!r} of {by} is never used: {why}; it has to have another")
        if name in self:
            return name
        known = sorted(self.names())
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {self.noun} {name!r}; known: {known}{hint}")

    def check_or_auto(self, name: str) -> str:
        """The same, "auto" being left to whoever sees the data."""
        return name if name == AUTO else self.check(name)

    def get(self, name: str) -> Any:
        """The thing of this name.

        Raises:
            ValueError: it is not known, or the distribution that brings it cannot be imported, or several bring one, or
                it lacks what a thing of this kind has.
        """
        ours = self.check(name) in self.members
        found = self.members[name] if ours else self._load(self._brought()[name])
        if ours and isinstance(found, str):
            return _attribute(found)
        self.check_thing(f"{self.noun} {name!r}", found)
        return found

    def module_of(self, name: str) -> str:
        """The module that brings a thing of others."""
        return self.origins[name].module if name in self.origins else self._brought()[name][0].module

    def check_thing(self, who: str, thing: Any) -> None:
        """Refuse a thing that cannot be one of this kind. ValueError: saying what it lacks."""
        check_has(who, thing, self.needs)
        if not self.needs and not callable(thing):
            raise ValueError(f"{who} is {quote(thing)}: it has to be a function, or a class")

    def register(self, name: str, origin: Origin | None = None) -> Callable[[Thing], Thing]:
        """Add a thing in this process, and in all that import the module in which this is called.

        A cell or module that is run again replaces what it has added.

        Args:
            name: of the thing.
            origin: of whoever registers; None: of whoever applies what is returned.

        Raises:
            ValueError: there is another thing of this name, or it could not be told from something else, or the thing
                lacks what one of this kind has.

        >>> codecs = Registry("codecs", {})
        >>> @codecs.register("shout")
        ... def shout(text):
        ...     return text.upper()
        >>> codecs.get("shout")("hi")
        'HI'
        """

        if why := self._unfit(name):
            raise ValueError(f"{self.noun} {quote(name)}: {why}; choose another")

        def add(thing: Thing) -> Thing:
            found = origin or Origin.of(sys._getframe(1))
            if name in self and not found.is_again(self.origins.get(name)):
                raise ValueError(f"there is a {self.noun} {name!r} already{self._where(name)}: choose another name")
            self.check_thing(f"{self.noun} {name!r}", thing)
            self.members[name], self.origins[name] = thing, found
            return thing

        return add

    @property
    def noun(self) -> str:
        """One of the kind, in messages."""
        return self.kind.removesuffix("s")

    def _where(self, name: str) -> str:
        """Where a thing of others comes from, in a message."""
        return f", of {self.origins[name].file or self.origins[name].module}" if name in self.origins else ""

    def _unfit(self, name: str) -> str:
        """Why a thing cannot be found by this name; nothing where it can."""
        if not isinstance(name, str) or not name or set(MARKS) & set(name):
            return f"a name is text, with none of {' '.join(MARKS)}, which end it"
        taken = name.rpartition(".")[2] in self.taken  # a metric has its kind before its name
        return f"the names {', '.join(self.taken)} mean something else" if taken else ""

    def _brought(self) -> dict[str, list[EntryPoint]]:
        """Entry points of other distributions, by name."""
        places = tuple((place, _changed(place)) for place in sys.path)
        found: dict[str, list[EntryPoint]] = {}
        for point in _entry_points(places).get(f"policylearn.{self.kind}", ()):
            found.setdefault(point.name, []).append(point)
        return found

    def _load(self, points: list[EntryPoint]) -> Any:
        given = f"{self.noun} {points[0].name!r}"
        if len(points) > 1:
            raise ValueError(f"{given} comes with several distributions: {', '.join(map(_distribution, points))}")
        try:
            return points[0].load()
        except Exception as error:  # fault boundary: the code of others fails in any way it likes
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"{given} of {_distribution(points[0])} cannot be imported: {reason}") from error


def check_has(who: str, thing: Any, needs: Iterable[str]) -> None:
    """Refuse a part of others that lacks what will be asked of it.

    >>> check_has("adaptation 'mine'", 5, ["outer_loss", "fit"])
    Traceback (most recent call last):
    ...
    ValueError: adaptation 'mine' is 5: it has to have outer_loss and fit
    """
    if missing := [name for name in needs if getattr(thing, name, None) is None]:
        raise ValueError(f"{who} is {quote(thing)}: it has to have {' and '.join(missing)}")


def _attribute(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def import_parts(modules: Iterable[str]) -> None:
    """Import modules that register things; they are looked up where Python looks, and in the current folder.

    Raises:
        ValueError: one cannot be imported; with what it raises.

    Warns of one that is not that of the current folder, which has another of its name.

    >>> import_parts(["no_such_parts"])
    Traceback (most recent call last):
    ...
    ValueError: module 'no_such_parts' cannot be imported: ModuleNotFoundError: No module named 'no_such_parts'
    """
    if "" not in sys.path and (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    for module in modules:
        try:
            found = import_module(module)
        except Exception as error:  # fault boundary: the code of others fails in any way it likes
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"module {module!r} cannot be imported: {reason}") from error
        _warn_of_another(found)


def _warn_of_another(module: ModuleType) -> None:
    here = Path.cwd().joinpath(*module.__name__.split("."))
    own = next(filter(Path.is_file, (here / "__init__.py", here.with_name(f"{here.name}.py"))), None)
    if own is not None and module.__file__ and os.path.realpath(own) != os.path.realpath(module.__file__):
        mend = "start Python anew in this folder, or give it another name"
        warnings.warn(f"module {module.__name__!r} is {module.__file__}, and not {own}: {mend}", stacklevel=3)


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame, and all that it was called from."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_found(module: Mapping[str, Any]) -> bool:
    """Whether the names are those of a module that others find by its own."""
    return module.get("__spec__") is not None and module["__name__"] != "__main__"


@lru_cache(maxsize=1)
def _entry_points(places: tuple[tuple[str, int], ...]) -> dict[str, list[EntryPoint]]:
    """Those for policylearn of all distributions in these places, by group, as long as no place has changed: to read
    them takes a fiftieth of a second, and a small run asks seventy times."""
    found = entry_points()
    return {group: [*found.select(group=group)] for group in found.groups if group.startswith("policylearn.")}


def _changed(place: str) -> int:
    """When something was last added to a folder of modules, or taken from it."""
    try:
        return os.stat(place or ".").st_mtime_ns
    except OSError:  # a zip file that is gone, or a place that never was
        return 0


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
