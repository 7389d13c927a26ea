"""Changes to users, their settings and their keys."""
