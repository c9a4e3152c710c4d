"""``modelstream init``: sets buckets up: versioning, lifecycle rules, encryption, and policies for those who use them.

Says what it would do; ``--apply`` does it.  It can be run again at any time: what is as it should be is left alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage.bucket_policies import READER, RESTORER, ROLES, UPLOADER, Area, Document, partition_of, policy, seaweedfs_identities
from ..storage.bucket_setup import (
    ALWAYS_ENCRYPTED,
    MODELS,
    NO_VERSIONING,
    OWN_LIFECYCLE,
    RESULTS,
    TEMP,
    Done,
    Step,
    Wanted,
    execute,
    observe,
    plan,
)
from ..storage.errors import ConfigError
from .output import DONE, INCOMPLETE, print_json, say, shown, warn
from .places import config_path
from .tables import print_table

if TYPE_CHECKING:
    from ..storage.config import ProfileConfig
    from ..storage.origin import Origin

EXAMPLES = """
modelstream init --models my-models --profile main
modelstream init --models my-models --results my-results --temp my-temp --profile main --apply
modelstream init --models my-models --print-policies > policies.json
modelstream init --models my-models --temp my-temp --temp-days 3 --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", metavar="BUCKET", help="for models: versioned")
    parser.add_argument("--results", metavar="BUCKET", help="for images and files that workflows save: versioned")
    parser.add_argument("--temp", metavar="BUCKET", help="for what may go after some days")
    parser.add_argument("--profile", default="", metavar="NAME", help="of the configuration (default: the only one)")
    parser.add_argument("--temp-days", type=_days, default=7, metavar="N", help="what is in the temp bucket goes after N days (default: 7)")
    parser.add_argument("--results-days", type=_days, default=0, metavar="N", help="results go after so many days (default: never)")
    parser.add_argument("--old-version-days", type=_days, default=0, metavar="N", help="old versions go after N days (default: never)")
    parser.add_argument("--abort-days", type=_days, default=1, metavar="N", help="parts of unfinished uploads go after N days (default: 1)")
    parser.add_argument("--prefix", default="", metavar="DIR/", help="of the models, for the policies")
    parser.add_argument("--kms-key", default="", metavar="ARN", help="that encrypts the models, for the policies")
    parser.add_argument("--print-policies", action="store_true", help="only print the policy documents, as JSON; asks no server")
    parser.add_argument("--policy-form", choices=("aws", "seaweedfs"), help="of the policies (default: by the profile's preset)")
    parser.add_argument("--apply", action="store_true", help="carry out the plan")


def run(options: argparse.Namespace) -> int:
    wanted = _wanted(options)
    if not wanted:
        raise ConfigError("no bucket is named", next_step="give --models, --results or --temp")
    origins = _origins(options, wanted)
    documents = _policies(options, wanted, origins[0])
    if options.print_policies:
        print(json.dumps(documents, indent=2))
        return DONE
    steps: list[Step] = []
    done: list[Done] = []
    for one, origin in zip(wanted, origins, strict=True):
        planned = plan(one, observe(origin), origin.profile.preset)
        steps += planned
        if options.apply:
            done += [execute(origin, step) for step in planned]
    pairs = list(zip(wanted, origins, strict=True)) if done else []
    left = [step for one, origin in pairs for step in plan(one, observe(origin), origin.profile.preset)]
    failed = [one for one in done if one.error is not None and not one.skipped]
    _print(options, wanted, origins, steps, done, left)
    return INCOMPLETE if failed else DONE


def _wanted(options: argparse.Namespace) -> list[Wanted]:
    rules: dict[str, dict[str, Any]] = {
        MODELS: {"old_version_days": options.old_version_days},
        RESULTS: {"expire_days": options.results_days, "old_version_days": options.old_version_days},
        TEMP: {"versioning": False, "expire_days": options.temp_days},
    }
    named = {MODELS: options.models, RESULTS: options.results, TEMP: options.temp}
    buckets = [bucket for bucket in named.values() if bucket]
    if len(buckets) != len(set(buckets)):
        raise ConfigError("one bucket is named twice", next_step="expiry holds for a whole bucket: give each role its own")
    return [Wanted(bucket, role, abort_days=options.abort_days, **rules[role]) for role, bucket in named.items() if bucket]


def _origins(options: argparse.Namespace, wanted: list[Wanted]) -> list[Origin]:
    from ..storage.config import load_config, origin_from
    from ..storage.origin import Origin

    config = load_config(config_path(options))
    profiles = {profile.name: profile for profile in config.profiles}
    if not profiles:
        raise ConfigError("no profile is configured", next_step="write [profiles.NAME] with endpoint and keys (docs/providers.md)")
    table: dict[str, Any] = {"profile": options.profile} if options.profile else {}
    return [Origin(origin_from({"bucket": one.bucket, **table}, f"--{one.role}", profiles)) for one in wanted]


def _policies(options: argparse.Namespace, wanted: list[Wanted], origin: Origin) -> Document:
    """The documents of all roles, in the form of the provider."""
    prefix = options.prefix if not options.prefix or options.prefix.endswith("/") else f"{options.prefix}/"
    areas = {one.role: Area(one.bucket, *((prefix, options.kms_key) if one.role == MODELS else ())) for one in wanted}
    profile: ProfileConfig = origin.profile
    more: dict[str, Any] = {"tls_only": profile.endpoint.startswith("https://") or profile.is_aws}
    if profile.is_aws:
        more["partition"] = partition_of(origin.region)
    models = [areas[MODELS]] if MODELS in areas else list(areas.values())
    scope = {READER: list(areas.values()), UPLOADER: list(areas.values()), RESTORER: models}
    documents = {role: policy(role, scope[role], **more) for role in ROLES}
    form = options.policy_form or ("seaweedfs" if profile.preset == "seaweedfs" else "aws")
    return seaweedfs_identities(documents) if form == "seaweedfs" else documents


def _print(
    options: argparse.Namespace, wanted: list[Wanted], origins: list[Origin], steps: list[Step], done: list[Done], left: list[Step]
) -> None:
    if options.json:
        rows = [{**_step_json(one.step), "error": "" if one.error is None else str(one.error), "skipped": one.skipped} for one in done]
        planned = [_step_json(step) for step in steps]
        print_json({"applied": options.apply, "steps": rows if options.apply else planned, "not_kept": [_step_json(step) for step in left]})
        return
    outcomes = {id(one.step): one for one in done}
    rows_shown = ((step.bucket, step.action, step.before, step.after, _outcome(outcomes.get(id(step)))) for step in steps)
    print_table(["bucket", "what", "now", "then", "done" if options.apply else ""], rows_shown)
    refused = [one for one in done if one.error is not None]
    for outcome in refused:
        warn(f"{'this server has it not: ' if outcome.skipped else ''}{outcome.error}")
    skipped = {(outcome.step.bucket, outcome.step.action) for outcome in refused}
    for step in left:
        if (step.bucket, step.action) not in skipped:
            warn(f"{step.bucket}: {step.action} was accepted, and the server does not show it afterwards")
    for one, origin in zip(wanted, origins, strict=True):
        _say_given(one, origin)
    if not steps:
        say("everything is as it should be")
    elif not options.apply:
        say("nothing was changed: --apply carries this out")
    _say_config(wanted, origins, config_path(options))


def _step_json(step: Step) -> dict[str, object]:
    return {"bucket": step.bucket, "action": step.action, "before": step.before, "after": step.after}


def _outcome(done: Done | None) -> str:
    return "" if done is None else "yes" if done.error is None else "not here" if done.skipped else "failed"


def _say_given(one: Wanted, origin: Origin) -> None:
    preset = origin.profile.preset
    if one.encryption and preset in ALWAYS_ENCRYPTED:
        say(f"{one.bucket}: {preset} encrypts every object by itself")
    if preset in OWN_LIFECYCLE:
        say(f"{one.bucket}: set with {preset}'s own tools: {'; '.join(one.words)}")
    if one.versioning and preset in NO_VERSIONING:
        say(f"{one.bucket}: {preset} keeps no versions: what is overwritten is gone")


def _say_config(wanted: list[Wanted], origins: list[Origin], path: Path) -> None:
    """What of the configuration is missing for these buckets, to be written by the owner."""
    from ..storage.config import load_config

    there = {origin.bucket for origin in load_config(path).origins}
    models = [(one, origin) for one, origin in zip(wanted, origins, strict=True) if one.role == MODELS and one.bucket not in there]
    if models:
        say(f"\nadd to {path.name}:\n")
    for one, origin in models:
        say(f'[[origins]]\nbucket = "{shown(one.bucket)}"\nprofile = "{origin.profile.name}"')


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) > 36500:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days")
    return int(text)
