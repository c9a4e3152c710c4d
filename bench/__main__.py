"""``python -m bench NAME [--quick] [--json FILE] …``; exit code 0 when every figure that was asked for holds."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path

from .processes import ROOT
from .report import Report

NAMES = (
    *("cold", "import", "listing", "warm", "switch", "ssd", "share", "near", "compress", "policy"),
    *("predict", "lookahead", "boot", "panel", "telemetry", "push", "fit"),
)
MODULES = {"import": "start"}
"""where a module is not called as its benchmark"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="one repetition, smaller objects, fewer peers: a smoke test")
    parser.add_argument("--json", type=Path, metavar="FILE", help="rows, machine and checks; written after every run")
    parser.add_argument("--resume", action="store_true", help="go on where the run that wrote FILE stopped")
    parser.add_argument("--repetitions", type=int, metavar="N")
    parser.add_argument("--only", action="append", default=[], metavar="SITUATION", help="cold: one situation; may be repeated")
    parser.add_argument("--clients", action="append", default=[], metavar="CLIENT", help="cold: only these peers (and ours)")
    parser.add_argument("--cheap-server", action="store_true", help="cold: the server set up to burn least, on a loopback without BBR")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="policy, predict: recorded requests, a CSV")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="policy, predict: a plot; by default beside --json")
    # A polite kill ends like Ctrl-C: servers, links and scratch folders are taken away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return run(parser.parse_args())


def run(arguments: argparse.Namespace) -> int:
    bench = importlib.import_module(f".{MODULES.get(arguments.name, arguments.name)}", __package__)
    report = Report(arguments.name, bench.COLUMNS, arguments.json, arguments.quick)
    if arguments.resume:
        report.resume()
    more = {}
    if arguments.name == "cold":
        unknown = set(arguments.only) - set(bench.SITUATIONS)
        if unknown:
            sys.exit(f"no such situation: {', '.join(sorted(unknown))}; known: {', '.join(bench.SITUATIONS)}")
        more = {"only": arguments.only, "clients": arguments.clients, "models": ROOT / ".venv" / "models" / "bench"}
        more["cheap_server"] = arguments.cheap_server
    if arguments.name in ("policy", "predict"):
        beside = arguments.json.with_suffix(".png") if arguments.json else None
        more = {"trace": arguments.trace, "plot": arguments.plot or beside}
    return bench.main(report, repetitions=arguments.repetitions, quick=arguments.quick, **more)


if __name__ == "__main__":
    sys.exit(main())
