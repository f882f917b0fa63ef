"""Ethos trains a language model's character from a written spec, and tastes it while it trains."""

__version__ = "0.1.0"
