"""Statements of both papers as programs: what a theorem asserts, counted, constructed or measured."""
