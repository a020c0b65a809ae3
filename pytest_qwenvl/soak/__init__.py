"""Long runs: a bounded mixed load on a server, watched until it ends."""
