"""What the pages say is run or checked here; ``docs/writing.md`` tells authors how to mark it."""
