"""What plugins of vendors add to a run, each thing with the plugin that said it.

The hooks of :mod:`pytest_qwenvl.hookspecs` are called one plugin at a time, so that whatever is
wrong with an answer is told with the name of the plugin that gave it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qwenvl.config import Config
from pytest_qwenvl.errors import UsageProblem

if TYPE_CHECKING:
    from pluggy import HookImpl, PluginManager

    from pytest_qwenvl.report.results import RunRecord


@dataclass(frozen=True)
class Answer:
    """What one plugin's hook returned.

    Attributes:
        plugin: as messages and reports name it; a ``conftest.py`` by its path.
    """

    plugin: str
    hook: str
    value: Any

    def wrong(self, why: str) -> UsageProblem:
        """The error that says what is wrong with this answer, and whose it is."""
        return UsageProblem(f"plugin {self.plugin}: {self.hook}: {why}")


def answers(manager: PluginManager, hook: str, **given: object) -> Iterator[Answer]:
    """What each plugin answers to a hook; those that answer None are left out.

    Raises:
        UsageProblem: the hook raised, or wraps others; with the plugin's name, and the line.
    """
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        answer = _ask(implementation, hook, given)
        if answer.value is not None:
            yield answer


def environment_facts(
    manager: PluginManager, asked: Config, own: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Facts of the host, by plugin.

    Args:
        own: names of the facts that the suite reports itself.

    Raises:
        UsageProblem: as :func:`answers`; a value that is no JSON; a name that the suite or another
            plugin reports.
    """
    found: dict[str, dict[str, Any]] = {}
    for answer in answers(manager, "pytest_qwenvl_environment", asked=asked):
        facts = _json_table(answer)
        for name in facts:
            if name in own:
                raise answer.wrong(f"{name!r} is reported by the suite itself; use another name")
            for plugin, others in found.items():
                if name in others:
                    raise answer.wrong(f"{name!r} is told by plugin {plugin} too")
        found[answer.plugin] = facts
    return found


def report_fields(
    manager: PluginManager, asked: Config, run: RunRecord
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What the report holds beside the suite's record, by plugin; and what went wrong.

    Raises nothing: one plugin's mistake must not cost what others and the suite have to say.
    """
    hook = "pytest_qwenvl_report_fields"
    found: dict[str, dict[str, Any]] = {}
    problems = []
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        try:
            answer = _ask(implementation, hook, {"asked": asked, "run": run})
            if answer.value is not None:
                found[answer.plugin] = _json_table(answer)
        except UsageProblem as problem:
            problems.append(str(problem))
    return found, problems


def by_name(
    manager: PluginManager,
    hook: str,
    asked: Config,
    *,
    own: Collection[str],
    fits: Callable[[Any], bool],
    needs: str,
) -> dict[str, Any]:
    """What all plugins offer under a name: launchers, engines, checks.

    Args:
        own: names that are the suite's.
        fits: whether a value is what the hook asks for; ``needs`` says in words what that is.

    Raises:
        UsageProblem: as :func:`answers`; no table of names; a value that does not fit; a name that
            is the suite's or another plugin's.
    """
    found: dict[str, Any] = {}
    source: dict[str, str] = {}
    for answer in answers(manager, hook, asked=asked):
        for name, value in _table(answer).items():
            if name in own:
                raise answer.wrong(f"{name!r} is the suite's own; use another name")
            if name in source:
                raise answer.wrong(f"{name!r} is offered by plugin {source[name]} too")
            if not fits(value):
                raise answer.wrong(f"{name!r} needs {needs}, is {_kind(value)}")
            found[name], source[name] = value, answer.plugin
    return found


def plugins_outside_pytest(names: Sequence[str]) -> PluginManager:
    """A plugin manager with hooks of vendors, for programs that are not pytest.

    Args:
        names: modules, as ``pytest -p`` takes them, or files such as ``conftest.py``. Those of the
            variable ``PYTEST_PLUGINS`` come first, as with pytest.

    Raises:
        UsageProblem: one that cannot be found, or fails when it is imported.
    """
    import pytest

    from pytest_qwenvl import hookspecs

    manager = pytest.PytestPluginManager()
    manager.add_hookspecs(hookspecs)
    named = [it for it in os.environ.get("PYTEST_PLUGINS", "").split(",") if it]
    for name in [*named, *names]:
        try:
            plugin = _module(name)
        except Exception as error:
            raise UsageProblem(f"--plugin {name}: cannot be imported: {_raised(error)}") from error
        if not manager.is_registered(plugin):
            manager.register(plugin, name)
    return manager


def _module(name: str) -> Any:
    path = Path(name)
    if path.suffix != ".py":
        # As pytest's own program does; an installed one has no current folder on its path.
        sys.path.insert(0, str(Path.cwd()))
        try:
            return importlib.import_module(name)
        finally:
            sys.path.remove(str(Path.cwd()))
    spec = importlib.util.spec_from_file_location(f"qwenvl_plugin_{path.stem}", path.absolute())
    assert spec is not None and spec.loader is not None, "the file's name ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    # A conftest.py may import what lies beside it.
    sys.path.insert(0, str(path.absolute().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.absolute().parent))
    return module


def _ask(implementation: HookImpl, hook: str, given: Mapping[str, object]) -> Answer:
    plugin = _named(implementation)
    if implementation.wrapper or implementation.hookwrapper:
        raise UsageProblem(f"plugin {plugin}: {hook}: must answer itself, and not wrap others")
    try:
        value = implementation.function(*(given[name] for name in implementation.argnames))
    except Exception as error:
        raise UsageProblem(f"plugin {plugin}: {hook} raised {_raised(error)}") from error
    return Answer(plugin, hook, value)


def _named(implementation: HookImpl) -> str:
    """The plugin's name; a file below the current folder is named from there."""
    name = implementation.plugin_name
    path = Path(name)
    if path.is_absolute() and Path.cwd() in path.parents:
        return str(path.relative_to(Path.cwd()))
    return name


def _raised(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def _table(answer: Answer) -> dict[str, Any]:
    value = answer.value
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise answer.wrong(f"needs a mapping with names as keys, answered {_kind(value)}")
    return dict(value)


def _json_table(answer: Answer) -> dict[str, Any]:
    """The answer as a table of JSON values, a copy that the plugin cannot change later."""
    table = _table(answer)
    for name, value in table.items():
        try:
            table[name] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise answer.wrong(f"{name!r} is no JSON value: {error}") from None
    return table


def _kind(value: object) -> str:
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 60 else shown[:59] + '…'}"
