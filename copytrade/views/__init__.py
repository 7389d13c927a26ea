"""Pages of followers and operators."""
