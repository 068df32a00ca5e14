"""Tests of alignment; a package, so that its modules share helpers."""
