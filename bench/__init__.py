"""Benchmarks: ``python -m bench NAME [--quick] [--json FILE]``.

Every figure comes from a fresh process, interleaved with its competitors, server and client on a core each.
``docs/benchmarks.md`` says what is measured, why it is fair, and how to run it.
"""
