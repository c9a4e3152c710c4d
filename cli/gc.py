"""``modelstream gc``: removes what killed pushes left in buckets and in the state folder.  Says what it would do unless told to."""

from __future__ import annotations

import argparse
import time

from .output import DONE, INCOMPLETE, count_text, duration_text, print_json, say, shown, warn
from .places import add_origin_option, open_named_origins
from .push import uploads_state
from .tables import Column, print_table

EXAMPLES = """
modelstream gc                                 # what is left, and what would go
modelstream gc --apply                         # removes our own unfinished uploads older than a day
modelstream gc --older-than 0 --apply          # also those that the next push would go on with
modelstream gc --others --older-than 168 --apply   # also other people's, a week old
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--apply", action="store_true", help="remove it (default: say what would be removed)")
    parser.add_argument("--older-than", type=float, default=24.0, metavar="HOURS", help="leave younger uploads alone (default: 24)")
    parser.add_argument("--others", action="store_true", help="also uploads under the origin's prefix that no journal here names")
    add_origin_option(parser)


def run(options: argparse.Namespace) -> int:
    from ..storage.publish_gc import carry_out, plan_gc

    origins = open_named_origins(options)
    state = uploads_state(options)
    plan = plan_gc(origins, state, older_than_s=max(0.0, options.older_than) * 3600, others=options.others, now_s=time.time())
    going = sum(upload.goes for upload in plan.uploads)
    if not options.apply:
        if options.json:
            print_json({"applied": False, "uploads": plan.uploads, "journals": len(plan.journals)})
            return DONE
        rows = [(u.why, duration_text(u.age_s), "ours" if u.ours else "somebody's", shown(f"{u.origin}:{u.key}")) for u in plan.uploads]
        print_table(("what", Column("age", right=True), "whose", "unfinished upload"), rows)
        say(f"{count_text(going, 'upload')} and {count_text(len(plan.journals), 'journal')} would go; --apply removes them")
        return DONE
    outcome = carry_out(plan, origins)
    for upload, message in outcome.failed:
        warn(f"{upload.origin}:{upload.key}: {message}")
    if options.json:
        failed = [{"upload": upload, "message": message} for upload, message in outcome.failed]
        print_json({"applied": True, "removed": outcome.removed, "failed": failed, "journals": outcome.journals})
    else:
        say(f"{count_text(len(outcome.removed), 'upload')} and {count_text(outcome.journals, 'journal')} removed")
    return INCOMPLETE if outcome.failed else DONE
