from __future__ import annotations

import socket

import pytest

from pytest_qwenvl.engines.ports import reserve_port
from pytest_qwenvl.errors import EngineStartError


def bound(port: int, *, share: bool) -> socket.socket:
    one = socket.socket()
    if share:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("127.0.0.1", port))
    except OSError:
        one.close()
        raise
    return one


def test_the_engine_gets_in_and_answers():
    with reserve_port() as reserved, bound(reserved.port, share=True) as engine:
        engine.listen()
        with socket.create_connection((reserved.host, reserved.port)) as client:
            accepted, _ = engine.accept()
            with accepted:
                client.sendall(b"x")
                assert accepted.recv(1) == b"x"


def test_a_second_engine_finds_the_port_taken():
    with reserve_port() as reserved, bound(reserved.port, share=True) as engine:
        engine.listen()
        with pytest.raises(OSError, match="in use"):
            bound(reserved.port, share=True)


def test_nobody_else_gets_it():
    with reserve_port() as reserved:
        with pytest.raises(OSError, match="in use"):
            bound(reserved.port, share=False)
        others = []
        try:
            # As many as a run could ask for at once: the kernel hands it to none of them.
            for share in (False, True) * 500:
                others.append(bound(0, share=share))
            assert reserved.port not in {other.getsockname()[1] for other in others}
        finally:
            for other in others:
                other.close()


def test_reservations_differ():
    with reserve_port() as one, reserve_port() as other:
        assert one.port != other.port


def test_a_taken_port_is_one_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EngineStartError, match=f"port {port} of 127.0.0.1 is taken"):
            reserve_port(port=port)


def test_a_released_port_can_be_reserved_again():
    with reserve_port() as reserved:
        port = reserved.port
    with reserve_port(port=port) as again:
        assert again.port == port


def test_a_host_that_is_not_ours():
    with pytest.raises(EngineStartError, match=r"cannot bind to 192\.0\.2\.1:0"):
        reserve_port("192.0.2.1")
