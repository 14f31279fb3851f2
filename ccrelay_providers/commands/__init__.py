"""The commands of ccrelay.py: a module each, with `run(options, config) → exit code`."""
