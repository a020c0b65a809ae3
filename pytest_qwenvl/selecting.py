"""Which of the collected tests run, and in what order: what decides it, one after the other."""

from __future__ import annotations

import pytest

from pytest_qwenvl import collection, needs
from pytest_qwenvl.catalogue import Catalogue
from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.run import catalogue_of, config_of, plan_of, why_no_bench, why_no_lm_eval
from pytest_qwenvl.telling import keep_held_back, keep_undecided


def before_others(items: list[pytest.Item]) -> list[pytest.Item] | None:
    """Before ``-m`` and ``-k``: drop tests without a deployment, narrow ``smoke``.

    Returns:
        the tests that decide a requirement; None where no test is about a deployment either.
    """
    collection.drop(items, "qwenvl_unplanned")
    deciding = [item for item in items if collection.requirement_of(item)]
    if not deciding and not any(collection.planned_of(item) for item in items):
        return None
    collection.narrow_smoke(items)
    return deciding


def after_others(
    config: pytest.Config, items: list[pytest.Item], deciding: list[pytest.Item]
) -> None:
    """After ``-m`` and ``-k``: drop what this run cannot or need not decide, order the rest.

    Raises:
        pytest.UsageError: a test decides what is not in the catalogue; ``-m soak`` without
            ``--soak``.
    """
    asked = config_of(config)
    if asked.endpoint is not None:
        _drop_undecidable(config, items)
    dropped = collection.drop(items, "qwenvl_held_back")
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        keep_held_back(config, collection.held_back(dropped))
    if not deciding:
        collection.drop(items, "qwenvl_elsewhere")
        return
    catalogue = catalogue_of(config)
    groups = _groups(config, deciding, catalogue)
    left_out = collection.drop_inapplicable(items, catalogue, plan_of(config).inventory.backend)
    left_out += collection.decide_once(items, catalogue)
    if asked.baseline is None:
        left_out += collection.drop_comparisons(items, catalogue)
    if asked.soak is None:
        left_out += _drop_soaks(items)
    left_out += collection.drop(items, "qwenvl_elsewhere")
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    if any(collection.planned_of(item) for item in items):
        collection.order(items, plan_of(config), groups)
    if asked.resume is not None:
        from pytest_qwenvl.resume_run import carry_over

        carry_over(config, items)


def _groups(
    config: pytest.Config, deciding: list[pytest.Item], catalogue: Catalogue
) -> dict[str, str]:
    groups = {}
    for item in deciding:
        name = collection.requirement_of(item)
        assert name is not None
        if name not in catalogue:
            raise pytest.UsageError(
                f"{item.nodeid} decides {name}, which is not in {config_of(config).catalogue}"
            )
        groups[name] = catalogue[name].group
    return groups


def _drop_soaks(items: list[pytest.Item]) -> list[pytest.Item]:
    try:
        return collection.drop_soaks(items)
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None


def _drop_undecidable(config: pytest.Config, items: list[pytest.Item]) -> None:
    plan = plan_of(config)
    catalogue = catalogue_of(config) if config_of(config).catalogue else None
    try:
        why_not = {
            "bench": lambda: why_no_bench(config),
            "evaluate_served": lambda: why_no_lm_eval(config),
        }
        dropped = needs.drop_undecidable(items, catalogue, why_not)
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    if dropped:
        config.hook.pytest_deselected(items=[item for item, _ in dropped])
        keep_undecided(config, needs.undecided(dropped, items, plan))
