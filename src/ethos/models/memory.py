"""How much memory engines take: what they allocate by, and what a dry run counts by, which loads no torch."""

SLOTS = 96
"""Sequences that are decoded at once."""
TOKENS_A_SLOT = 1024
"""Of sequences where all slots are in use; longer ones leave slots empty."""
KEPT_PROMPT_BYTES = 2**30
"""The most that an engine keeps of the keys and values of earlier prompts."""
STUDENT_KEPT_PROMPT_BYTES = 2**28
"""As much in an engine that is the student's alone: its prompts are short, or begin with the one spec."""
