"""Turns what was uploaded into the canonical forms of `contracts`."""
