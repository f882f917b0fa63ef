"""From clauses to rows."""
