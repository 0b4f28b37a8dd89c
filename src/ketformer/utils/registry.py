"""Named objects: built in, offered by installed packages, or registered in this process.

Another package offers an object through an entry point in its ``pyproject.toml``::

    [project.entry-points."ketformer.attention"]
    mine = "my_package.attention:MyAttention"

Every command and every worker process then knows the name. Code outside a package, such as a
script or a notebook, calls :meth:`Registry.register`. Names in files are looked up only here, so
a file cannot import anything that was not installed or registered.
"""

from __future__ import annotations

import difflib
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import (
    EntryPoint,
    PackageNotFoundError,
    entry_points,
    packages_distributions,
    version,
)
from typing import Any, Generic, TypeVar

from ketformer.errors import KetformerError, NotOfferedError
from ketformer.utils.declared import class_constant
from ketformer.utils.lazy import collector_paused

Item = TypeVar("Item")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
# Keyed by the module that holds each registry.
_REGISTRIES: dict[str, Registry[Any]] = {}


@dataclass(frozen=True)
class _Entry:
    """What a name stands for.

    Attributes:
        target: ``"module:object"``, imported on first use; or the object itself.
        package: the package it comes from, as ``name==version``; None for our own.
    """

    target: Any
    package: str | None = None


class Registry(Mapping[str, Item], Generic[Item]):
    """A mapping of names to objects, each imported on first use.

    Args:
        kind: what is registered, for messages: ``attention``.
        group: the entry point group: ``ketformer.attention``.
        home: the module that holds the registry.
        built_in: names with their ``"module:object"`` or the object itself.
        check: called with the name and an object from outside; raises a
            :class:`~ketformer.errors.KetformerError` if the object is of the wrong type.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        home: str,
        built_in: Mapping[str, str | Item],
        check: Callable[[str, Any], None] | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self._built_in = {name: _Entry(target) for name, target in built_in.items()}
        self._registered: dict[str, _Entry] = {}
        self._check = check
        _REGISTRIES[home] = self

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*self._built_in, *self._offered, *self._registered))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None

    def __getitem__(self, name: str) -> Item:
        if name not in self:
            raise KeyError(name)
        return self.load(name)

    def load(self, name: str) -> Item:
        """The object behind a name.

        Raises:
            NotOfferedError: no such name.
            KetformerError: a package's object cannot be imported or is of the wrong type.
        """
        entry = self._find(name)
        if entry is None:
            close = difflib.get_close_matches(str(name), list(self), n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise NotOfferedError(f"unknown {self.kind} {name!r}; {hint}known: {', '.join(self)}")
        if not isinstance(entry.target, str):
            return entry.target  # type: ignore[no-any-return]
        if entry.package is None and name in self._built_in:
            return _imported(entry.target)  # type: ignore[no-any-return]
        try:
            found = _imported(entry.target)
        except Exception as error:  # third-party code may raise anything
            raise KetformerError(
                f"the {self.kind} {name!r} of {entry.package or entry.target} cannot be imported "
                f"({type(error).__name__}: {error})"
            ) from error
        if self._check:
            self._check(name, found)
        return found  # type: ignore[no-any-return]

    def loaded(self) -> Iterator[tuple[str, Item]]:
        """All names with their objects; one that cannot be imported is skipped with a warning."""
        for name in self:
            try:
                yield name, self.load(name)
            except KetformerError as error:
                warnings.warn(f"left out: {error}", stacklevel=2)

    def declaring(self, attribute: str) -> Iterator[tuple[str, Any]]:
        """The names whose class itself sets this attribute to a constant, with the constant.

        Our own classes are not imported for it, which would take seconds.
        """
        for name in self:
            target = self._built_in[name].target if name in self._built_in else None
            try:
                if isinstance(target, str):
                    value = class_constant(target, attribute)
                else:
                    value = vars(self.load(name)).get(attribute)
            except KetformerError as error:
                warnings.warn(f"left out: {error}", stacklevel=2)
                continue
            if value is not None:
                yield name, value

    def register(self, name: str, target: str | Item) -> None:
        """Add a name for this process and the workers that it starts.

        Args:
            name: lower-case letters, digits and underscores.
            target: the object, or where it is found, as ``"module:object"``.

        Raises:
            KetformerError: a malformed or taken name, or an object of the wrong type.
        """
        if not _NAME.fullmatch(name):
            raise KetformerError(
                f"{self.kind} {name!r}: a name has lower-case letters, digits and underscores"
            )
        if isinstance(target, str):
            if not _TARGET.fullmatch(target):
                raise KetformerError(f"{self.kind} {name!r}: {target!r} is not 'module:object'")
        elif self._check:
            self._check(name, target)
        known = self._find(name)
        if known is not None and _target_of(known.target) != _target_of(target):
            raise KetformerError(f"{self.kind} {name!r} is taken: it is {_target_of(known.target)}")
        if name not in self._built_in:
            self._registered[name] = _Entry(target, _package_of(_target_of(target)))

    def package_of(self, name: str) -> str | None:
        """The package that offers a name, as ``name==version``; None for our own.

        Also None for objects registered by code outside any installed package.
        """
        entry = self._find(name)
        return entry.package if entry else None

    def registered_as(self, name: str) -> str | None:
        """``"module:object"`` of an object registered in this process, else None."""
        entry = self._registered.get(name)
        return None if entry is None else _target_of(entry.target)

    def require(self, name: str, package: str | None = None) -> None:
        """Check a name read from a file, with the package that the file gives for it.

        Another version of the package is accepted with a warning.

        Args:
            name: the name in the file.
            package: its package as ``name==version``; None for our own.

        Raises:
            KetformerError: the name is unknown here, or comes from another package.
        """
        if package is not None and not (isinstance(package, str) and _PACKAGE.fullmatch(package)):
            raise KetformerError(
                f"{self.kind}: {package!r} does not name a package as name==version"
            )
        here = self.package_of(name)
        if name not in self:
            if package is None:
                self.load(name)  # raises an error that lists the known names
            elif _is_installed(package):
                raise KetformerError(
                    f"the {self.kind} {name!r} comes from {package}, but the installed version "
                    "does not offer it: register it first, or install another version"
                )
            raise KetformerError(
                f"the {self.kind} {name!r} comes from a package that is not installed here: "
                f"pip install '{package}'"
            )
        if package is None or here == package:
            return
        if here is None or _project(here) != _project(package):
            raise KetformerError(
                f"the {self.kind} {name!r} should come from {package}, but here it comes from "
                f"{here or 'Ketformer itself or from no package'}"
            )
        warnings.warn(
            f"the {self.kind} {name!r} came from {package}; {here} is installed", stacklevel=3
        )

    def for_workers(self) -> dict[str, Any]:
        """The objects registered in this process, to pass to a worker process.

        Raises:
            KetformerError: an object that another process could not import.
        """
        for name, entry in self._registered.items():
            _require_importable(self.kind, name, entry.target)
        return {name: entry.target for name, entry in self._registered.items()}

    def _find(self, name: object) -> _Entry | None:
        if not isinstance(name, str):
            return None
        if name in self._built_in:  # takes precedence over installed packages
            return self._built_in[name]
        return self._registered.get(name) or self._offered.get(name)

    @cached_property
    def _offered(self) -> dict[str, _Entry]:
        """The objects that installed packages offer, sorted by name."""
        found: dict[str, _Entry] = {}
        for point in sorted(entry_points(group=self.group), key=lambda p: p.name):
            package = _requirement(point)
            owner = "Ketformer itself" if point.name in self._built_in else None
            if point.name in found and found[point.name].package != package:
                owner = found[point.name].package
            if owner or not _NAME.fullmatch(point.name):
                why = f"{owner} already has it" if owner else "not a plain lower-case name"
                warnings.warn(
                    f"the {self.kind} {point.name!r} of {package} is left out: {why}", stacklevel=2
                )
                continue
            found[point.name] = _Entry(point.value.partition("[")[0].strip(), package)
        return found


def registered_here() -> dict[str, dict[str, Any]]:
    """Everything registered in this process, for :func:`register_again` in another one.

    Raises:
        KetformerError: an object that another process could not import.
    """
    found = {home: registry.for_workers() for home, registry in _REGISTRIES.items()}
    return {home: names for home, names in found.items() if names}


def register_again(registered: Mapping[str, Mapping[str, Any]]) -> None:
    """Repeat the registrations of another process."""
    for home, names in registered.items():
        import_module(home)
        for name, target in names.items():
            _REGISTRIES[home].register(name, target)


def _project(package: str) -> str:
    """The name in ``name==version``, normalised as package indexes do."""
    return re.sub(r"[-_.]+", "-", package.partition("==")[0]).lower()


def _is_installed(package: str) -> bool:
    try:
        version(package.partition("==")[0])
    except PackageNotFoundError:
        return False
    return True


def _requirement(point: EntryPoint) -> str:
    return f"{point.dist.name}=={point.dist.version}" if point.dist else "an unnamed package"


def _imported(target: str) -> Any:
    module, _, attributes = target.partition(":")
    with collector_paused():
        found: Any = import_module(module)
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    return found


def _target_of(target: Any) -> str:
    if isinstance(target, str):
        return target
    described = target if hasattr(target, "__qualname__") else type(target)
    return f"{described.__module__}:{described.__qualname__}"


def _package_of(target: str) -> str | None:
    """The installed package that a module belongs to, as ``name==version``."""
    owners = _distributions_of(target.partition(":")[0].partition(".")[0])
    return f"{owners[0]}=={version(owners[0])}" if owners else None


@cache
def _distributions_of(package: str) -> list[str]:
    """The installed distributions with that package; looking through all files takes a while."""
    return packages_distributions().get(package, [])


def _require_importable(kind: str, name: str, target: Any) -> None:
    """Refuse an object that a worker process could not import."""
    try:
        sent = pickle.dumps(target)  # by reference, as multiprocessing sends it
    except Exception as error:  # pickle raises what the object's own methods raise
        why = f"cannot be sent to worker processes ({error})"
    else:
        # Each worker runs a script again, but not what was typed into a session.
        if b"__main__" not in sent or hasattr(sys.modules["__main__"], "__file__"):
            return
        why = "is defined in this notebook or session, where worker processes cannot import it"
    raise KetformerError(f"the {kind} {name!r} {why}: move it into a module, or use one process")
