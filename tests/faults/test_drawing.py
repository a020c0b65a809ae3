"""A fault is decided by seed and number; every kind of it is drawn."""

from __future__ import annotations

from tests.faults.drawing import OF_THE_RUN, PHASES, VICTIMS, draw

SERIES = [draw(1, number) for number in range(2000)]


def test_the_same_number_is_the_same_fault():
    assert draw(1, 17) == SERIES[17]
    assert draw(2, 17) != SERIES[17]


def test_every_phase_victim_and_action_is_drawn():
    assert {it.phase for it in SERIES} == set(PHASES)
    victims = {"pytest", "worker", *(it for some in VICTIMS.values() for it in some)}
    assert {it.victim for it in SERIES} == victims
    assert len({it.action for it in SERIES}) == 9


def test_nobody_is_hit_who_cannot_be_there():
    for fault in SERIES:
        assert fault.victim in ("pytest", "worker", *VICTIMS[fault.phase])
        assert fault.workers or fault.victim != "worker"


def test_what_needs_rights_is_left_out_without_them():
    drawn = {draw(1, number, privileged=False).action for number in range(500)}
    assert not drawn & set(OF_THE_RUN)
    assert len(drawn) == 7
