"""Reads for pages and the API, each with a constant number of queries."""
