"""The config of a run: a section a file, its knobs, and the whole as read from `config.yaml`."""
