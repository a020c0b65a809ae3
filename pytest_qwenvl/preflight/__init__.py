"""What a host lacks before any engine is started: checks that read files and start nothing."""
