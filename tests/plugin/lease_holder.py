"""Another run that holds devices: ``python lease_holder.py LOCKS DEVICES COUNT NAME [SLOTS]``.

Prints what it does as it does it, gives back at the end of its standard input.
"""

# ruff: noqa: T201
from __future__ import annotations

import sys
from pathlib import Path

from pytest_qwenvl.devices.lease import DevicePool


def main(locks: str, devices: int, count: int, name: str, slots: int = 0) -> None:
    pool = DevicePool(
        range(devices),
        [f"device{index}" for index in range(devices)],
        Path(locks),
        allowance=[f"slot{index}" for index in range(slots)],
    )
    with pool.lease(count, name, lambda text: print(f"waiting: {text}", flush=True)) as lease:
        print(f"got {','.join(lease.physical)}", flush=True)
        sys.stdin.read()
    print("gave back", flush=True)


if __name__ == "__main__":
    locks, devices, count, name, *slots = sys.argv[1:]
    main(locks, int(devices), int(count), name, *map(int, slots))
