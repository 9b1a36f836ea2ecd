"""Checks for exercises, one module a chapter, that test properties of the answer.

A check prints one line when the answer passes, and raises AssertionError with the property
that fails, the numbers, and where to look. They are named after what they check.
"""
