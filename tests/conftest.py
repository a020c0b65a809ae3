"""What every test of the plugin may count on."""

from __future__ import annotations

import signal

# A shell that starts pytest in the background, or under nohup, has it ignore these, and so would
# every process that a test starts and then interrupts.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )
