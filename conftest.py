"""Nothing to set up here: the plugin is found by its ``pytest11`` entry point alone."""
