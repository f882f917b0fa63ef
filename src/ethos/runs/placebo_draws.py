"""What the base is asked for the placebo's rows, and how often at most: the placebo draws it, and a plan counts it."""

SUBJECTS = (
    "the sea",
    "a market",
    "an old bridge",
    "the moon",
    "a garden in spring",
    "trains",
    "bread",
    "a small town",
)
"""Of pages, which stand for documents."""

PAGE_TOKENS = 128
MOST_DRAWS = 32  # of each prompt
