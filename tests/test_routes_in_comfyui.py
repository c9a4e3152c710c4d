"""The routes, ticks and metrics of the real ComfyUI with a real bucket, in one server."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rig.checkpoints import ROOT, models
from rig.comfy import Answer, ComfyServer
from rig.invariants import eventually
from rig.nvml.pynvml import Card
from rig.processes import free_ports
from rig.prometheus import CHECKER, PROGRAM, Prometheus
from rig.seaweed import Seaweed
from rig.workflows import load_only, node, text_to_image

MONITORING = ROOT / "docs" / "monitoring"
(METRICS_PORT,) = free_ports(1)
HEADER = "X-Model-Stream-Token"
HOSTILE = (
    "<img src=x onerror=alert(1)>.safetensors",
    'quote " and { brace }.safetensors',
    "\u202eright to left.safetensors",
    "ünï cödé 模型.safetensors",
)


def secrets_of(seaweed: Seaweed) -> tuple[str, ...]:
    return (seaweed.secret_key, seaweed.access_key, "X-Amz-Signature", "canary-of-the-webhook")


class Routes:
    """Our routes as the panel calls them."""

    def __init__(self, server: ComfyServer) -> None:
        self.server = server
        self.token = server.get("/modelstream/token")["token"]

    def get(self, path: str, **query: str) -> Any:
        return self.server.get(f"/api/modelstream/{path}", **query)

    def ask(self, path: str, body: Any, **headers: str) -> Answer:
        return self.server.request("POST", f"/api/modelstream/{path}", body, {HEADER: self.token, **headers})

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        answer = self.ask(path, body)
        assert answer.status == status, answer.body
        return answer.json()

    def row(self, name: str) -> dict[str, Any]:
        return next(r for r in self.get("models", filter=name)["rows"] if r["name"] == name)

    def digest(self, name: str) -> str:
        return self.row(name)["digest"]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    return Card(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def comfy(seaweed: Seaweed, card: Card) -> Iterator[ComfyServer]:
    name, s3 = "routes", seaweed.client()
    s3.create_bucket(Bucket=name)
    tiny, large = models("tiny"), models("tiny", depth=4)
    tiny.upload(s3, name)
    body = large.path("checkpoints/tiny.safetensors").read_bytes()
    for one in range(3):  # all different: the same bytes would be fetched once
        s3.put_object(Bucket=name, Key=f"checkpoints/slow-{one}.safetensors", Body=body[:-1] + bytes([one]))
    lora = tiny.path("loras/tiny.safetensors").read_bytes()
    for number, hostile in enumerate(HOSTILE):
        s3.put_object(Bucket=name, Key=f"loras/{hostile}", Body=lora[:-1] + bytes([number]))
    more = (
        f"[metrics]\nport = {METRICS_PORT}\n"
        "[transfer]\nrate_limit_mbit = 60\n[ssd]\nfree_floor_gb = 0.1\n[log]\nlevel = 'debug'\n"
        "[cost]\ngpu_per_hour = 3.6\negress_per_gb = { bucket = 0.09 }\n[alerts]\ndisk_free_gb = 0\nram_used = 0\n"
        'webhook = "http://127.0.0.1:9/canary-of-the-webhook"\n'
    )
    with ComfyServer(config=seaweed.config_toml(bucket=name, more=more), environment=card.environment) as server:
        assert eventually(lambda: server.get("/modelstream/status")["origins"][0]["listed_s"])
        assert eventually(lambda: server.get("/modelstream/status")["tiers"])
        yield server
        server.halt()
        kept = b"".join(path.read_bytes() for path in server.config_path.parent.glob("telemetry/*"))
        for secret in secrets_of(seaweed):
            assert secret not in server.log()
            assert secret.encode() not in kept


@pytest.fixture
def routes(comfy: ComfyServer) -> Routes:
    assert comfy.listener is not None
    comfy.listener.forget()
    return Routes(comfy)


def metrics(server: ComfyServer, path: str = "/modelstream/metrics") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """{(name, sorted labels): value}"""
    answer = server.request("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.body.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_the_status_has_everything_the_panel_shows_first(routes: Routes) -> None:
    status = routes.get("status")
    assert status["health"]["level"] == "ok"
    assert {s["name"]: s["state"] for s in status["seams"]}.items() >= {"executions": "on", "requests": "on"}.items()
    assert status["tiers"]["ram"].keys() >= {"budget_bytes", "used_bytes", "leased_bytes", "pinned_bytes", "entries"}
    assert status["tiers"]["bucket"]["entries"] == status["origins"][0]["objects"] > 0
    assert status["tiers"]["bucket"]["used_bytes"] > 0
    assert status["setup"] == {**status["setup"], "file": "user/__modelstream/config.toml", "found": True}


def test_the_models_are_paged_sorted_and_filtered(routes: Routes) -> None:
    first = routes.get("models", limit="2", sort="size_bytes", order="desc")
    assert [r["size_bytes"] for r in first["rows"]] == sorted((r["size_bytes"] for r in routes.get("models")["rows"]), reverse=True)[:2]
    assert first["total"] == first["all"] == routes.get("models")["total"]
    assert [r["name"] for r in routes.get("models", filter="SLOW checkpoints")["rows"]] == [f"slow-{i}.safetensors" for i in range(3)]
    assert {r["folder"] for r in routes.get("models", folder="loras")["rows"]} == {"loras"}
    rest = routes.get("models", offset="2", limit="1000", sort="size_bytes", order="desc")
    assert len(rest["rows"]) == first["total"] - 2
    for wrong in ({"limit": "1001"}, {"sort": "digest"}, {"order": "up"}, {"offset": "-1"}, {"tier": "disk"}, {"filter": "x" * 201}):
        answer = routes.server.request("GET", "/modelstream/models?" + "&".join(f"{k}={v}" for k, v in wrong.items()))
        assert answer.status == 400, wrong


def test_a_streaming_load_is_seen_with_the_node_that_waits(routes: Routes) -> None:
    listener = routes.server.listener
    opened = routes.post("panel", {"client_id": routes.server.client_id, "open": True})
    assert opened["tick"]["kind"] == "tick"
    prompt = routes.server.submit(load_only("CheckpointLoaderSimple", ckpt_name="slow-0.safetensors"))
    told = listener.wait_for(lambda t: t.kind == "modelstream" and any(x["waiting_nodes"] for x in t.values.get("transfers", ())))
    (row,) = [t for t in told.values["transfers"] if t["waiting_nodes"]]
    assert (row["name"], row["folder"], row["reason"]) == ("slow-0.safetensors", "checkpoints", "load")
    assert row["waiting_nodes"] == [{"prompt": prompt, "node": "1"}]
    assert told.values["queue"]["execution"]["prompt"] == prompt
    assert told.values["health"]["code"] == "streaming"
    routes.server.wait(prompt)
    assert routes.get("models", tier="ram", filter="slow-0")["total"] == 1
    ticks = [t.values for t in listener.all("modelstream")]
    assert all(len(json.dumps(t)) <= 8192 for t in ticks)
    assert routes.get("status")["panels"] == 1
    routes.post("panel", {"client_id": routes.server.client_id, "open": False})
    assert routes.get("status")["panels"] == 0
    events = routes.get("events")["events"]
    assert [e["kind"] for e in events if e["name"] == "slow-0.safetensors"][-1] in ("load", "store")
    assert events == sorted(events, key=lambda e: e["seq"])


def test_executions_loads_and_money_are_recorded(routes: Routes) -> None:
    run = routes.server.prompt(text_to_image("tiny.safetensors", lora="tiny.safetensors", seed=7)).expect()
    shown = routes.get("executions")
    row = next(r for r in shown["rows"] if r["prompt"] == run.prompt_id)
    assert (row["status"], row["nodes"] > 3, row["load_s"] > 0, row["wait_s"] >= 0) == ("success", True, True, True)
    assert row["cost"] == pytest.approx(row["seconds"] * 0.001)
    assert shown["percentiles"]["p50_s"] <= shown["percentiles"]["p99_s"]
    cost = routes.get("cost")
    assert cost["gpu_price_per_hour"] == 3.6
    assert cost["parts"]["egress"] > 0
    series = routes.get("series", names="executions,wire_bytes,ram_used_bytes", span="6h")
    assert series["step_s"] == 10
    assert sum(v for _, v in series["series"]["executions"]["points"]) >= 1


def test_pin_evict_prefetch_verify_and_budgets_work_by_digest(routes: Routes) -> None:
    name = "slow-1.safetensors"
    digest = routes.digest(name)
    routes.post("prefetch", {"digests": [digest], "tier": "ram"}, 202)
    assert eventually(lambda: "ram" in routes.row(name)["tiers"] and "ssd" in routes.row(name)["tiers"], 30)
    routes.post("pin", {"digests": [digest]})
    assert routes.row(name)["pinned"]
    kept = routes.post("evict", {"digests": [digest]})
    assert kept["freed_bytes"] == 0
    assert set(kept["results"][0]["refused"].values()) == {"pinned"}
    assert routes.post("verify", {"digests": [digest]}, 202) == {"asked": 1}
    assert eventually(lambda: {"ram", "ssd"} <= {e["tier"] for e in routes.get("events")["events"] if e["kind"] == "verify"})
    assert eventually(lambda: not routes.row(name)["leased"])
    routes.post("unpin", {"digests": [digest]})
    plan = routes.get("plan", tier="ram", size_bytes=str(1 << 45))
    assert plan["needed_bytes"] > 0
    assert not plan["enough"]
    policy = routes.get("policy", days="7", bound="1")
    assert [(tier["tier"], tier["policy"]) for tier in policy["tiers"]] == [("ram", "adaptive"), ("ssd", "adaptive")]
    assert all(tier["recent_least_s"] is None or tier["recent_least_s"] <= tier["recent_lost_s"] for tier in policy["tiers"])
    gone = routes.post("evict", {"digests": [digest], "tier": "ssd"})
    assert gone["results"][0]["freed"]["ssd"] == gone["freed_bytes"] > 0
    assert routes.row(name)["tiers"] == ["ram"]
    budget = routes.get("status")["tiers"]["ram"]["budget_bytes"]
    routes.post("budgets", {"tier": "ram", "size_bytes": budget - 4096})
    assert routes.get("status")["tiers"]["ram"]["budget_bytes"] == budget - 4096
    routes.post("budgets", {"tier": "ram", "size_bytes": budget})


def test_a_transfer_can_be_cancelled_and_the_prompt_says_so(routes: Routes) -> None:
    prompt = routes.server.submit(load_only("CheckpointLoaderSimple", ckpt_name="slow-2.safetensors"))
    found: list[int] = []

    def on_its_way() -> bool:
        found[:] = [t["id"] for t in routes.get("status")["transfers"] if t["name"] == "slow-2.safetensors"]
        return bool(found)

    assert eventually(on_its_way)
    assert routes.post("cancel", {"transfer": found[0]}) == {"cancelled": True}
    assert routes.server.wait(prompt).state == "error"
    assert routes.ask("cancel", {"transfer": found[0]}).status == 404
    warming = routes.post("prefetch", {"digests": [routes.digest("slow-2.safetensors")]}, 202)["warming"]
    assert routes.post("cancel", {"warming": warming}) == {"cancelled": True}
    assert routes.ask("cancel", {"warming": "w999"}).status == 404


def test_an_old_version_that_no_bucket_lists_is_shown_and_can_be_evicted(routes: Routes, seaweed: Seaweed) -> None:
    name = "overwritten.safetensors"
    body, s3 = models("tiny").path("loras/tiny.safetensors").read_bytes(), seaweed.client()

    def put(last: int) -> str:
        s3.put_object(Bucket="routes", Key=f"loras/{name}", Body=body[:-1] + bytes([last]))
        before = [r["digest"] for r in routes.get("models", filter=name)["rows"] if r["listed"]]
        routes.post("refresh", {}, 202)
        assert eventually(lambda: [r["digest"] for r in routes.get("models", filter=name)["rows"] if r["listed"]] not in ([], before))
        return routes.row(name)["digest"]

    old = put(200)
    routes.post("prefetch", {"digests": [old]}, 202)
    assert eventually(lambda: routes.row(name)["tiers"] == ["ssd"])
    new = put(201)
    (row,) = [r for r in routes.get("models", filter=name)["rows"] if not r["listed"]]
    assert (row["digest"], row["tiers"], row["storage_class"]) == (old, ["ssd"], None)
    assert new != old
    assert eventually(lambda: routes.post("evict", {"digests": [old]})["freed_bytes"] > 0)
    assert routes.get("models", filter=name)["total"] == 1


def test_a_loaded_model_can_be_evicted_between_prompts(routes: Routes) -> None:
    routes.server.prompt(load_only("CheckpointLoaderSimple", ckpt_name="tiny.safetensors")).expect()
    digest = routes.row("tiny.safetensors") and next(
        r["digest"] for r in routes.get("models", folder="checkpoints", filter="tiny")["rows"] if r["name"] == "tiny.safetensors"
    )
    assert "vram" in routes.get(f"models/{digest}")["row"]["tiers"]
    outcome = routes.post("evict", {"digests": [digest], "tier": "vram"})
    assert outcome["results"][0]["freed"]["vram"] > 0
    assert "vram" not in routes.get(f"models/{digest}")["row"]["tiers"]


def test_clearing_a_tier_takes_two_steps(routes: Routes) -> None:
    routes.server.prompt(
        load_only("LoraLoaderModelOnly", lora_name="tiny.safetensors", strength_model=1.0, model=["3", 0])
        | {"3": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors")}
    ).expect()
    before = routes.get("status")["tiers"]["ssd"]
    first = routes.ask("clear", {"tier": "ssd"})
    assert first.status == 409
    asked = first.json()
    assert (asked["error"], asked["entries"] > 0) == ("confirm", True)
    assert routes.get("status")["tiers"]["ssd"]["entries"] == before["entries"]
    assert routes.ask("clear", {"tier": "ram", "confirm": asked["confirm"]}).status == 409  # of another tier
    again = routes.ask("clear", {"tier": "ssd"}).json()
    done = routes.post("clear", {"tier": "ssd", "confirm": again["confirm"]})
    assert done["freed_bytes"] > 0
    assert routes.get("status")["tiers"]["ssd"]["entries"] == before["entries"] - done["entries"]
    assert routes.ask("clear", {"tier": "ssd", "confirm": again["confirm"]}).status == 409  # used once


WRONG_BODIES = [
    ("evict", {}),
    ("evict", {"digests": []}),
    ("evict", {"digests": ["../../../etc/hostname"]}),
    ("evict", {"digests": ["A" * 64]}),
    ("evict", {"digests": ["a" * 64] * 101}),
    ("evict", {"digests": "a" * 64}),
    ("evict", {"digests": ["a" * 64], "tier": "/"}),
    ("evict", {"digests": ["a" * 64], "path": "/tmp"}),
    ("pin", {"digests": [7]}),
    ("prefetch", {"digests": ["a" * 64], "tier": "vram"}),
    ("prefetch", {"digests": ["a" * 64], "endpoint": "http://169.254.169.254"}),
    ("cancel", {}),
    ("cancel", {"transfer": "1"}),
    ("cancel", {"transfer": 1, "digest": "a" * 64}),
    ("clear", {"tier": "bucket"}),
    ("budgets", {"tier": "ram", "size_bytes": -1}),
    ("budgets", {"tier": "ram", "size_bytes": True}),
    ("budgets", {"tier": "ram", "size_bytes": 1e300}),
    ("panel", {"client_id": "../x", "open": True}),
    ("panel", {"client_id": "x", "open": "yes"}),
    ("refresh", {"endpoint": "http://evil"}),
    ("evict", [1]),
]


def test_a_body_that_is_not_exactly_right_changes_nothing(routes: Routes) -> None:
    before = routes.get("status")["tiers"]
    for path, body in WRONG_BODIES:
        answer = routes.ask(path, body)
        assert (answer.status, answer.json()["error"]) == (400, "body"), (path, body, answer.body)
    graph = {"client_id": routes.server.client_id, "prompt": load_only("CheckpointLoaderSimple", ckpt_name="slow-0.safetensors")}
    assert routes.ask("graph", graph).status == 409 and routes.get("status")["prefetch"]["open_graph"] is False
    unknown = routes.ask("evict", {"digests": ["a" * 64]})
    assert (unknown.status, unknown.json()["error"]) == (404, "unknown_digest")
    assert routes.server.request("GET", "/modelstream/models/..%2f..%2fetc").status == 404
    after = routes.get("status")["tiers"]
    assert (after["ram"], after["ssd"]) == (before["ram"], before["ssd"])


def test_no_change_without_token_json_and_a_same_origin(routes: Routes) -> None:
    good = {HEADER: routes.token, "Content-Type": "application/json"}
    wrong = [
        {"Content-Type": "application/json"},
        {**good, HEADER: "x" * 43},
        {**good, "Content-Type": "text/plain"},
        {**good, "Content-Type": "application/x-www-form-urlencoded"},
        {**good, "Origin": "null"},
        {**good, "Sec-Fetch-Site": "cross-site"},
        {**good, "Origin": "http://127.0.0.1:9"},
        {**good, "Host": "evil.example"},
    ]
    paths = ("evict", "pin", "unpin", "prefetch", "cancel", "verify", "clear", "budgets", "panel", "refresh", "prefetching", "graph")
    for path in paths:
        for headers in wrong:
            answer = routes.server.request("POST", f"/modelstream/{path}", {"digests": ["a" * 64]}, headers)
            assert answer.status in (403, 415, 421), (path, headers, answer.status)
            assert not [h for h in answer.headers if h.startswith("access-control")]
    for path in ("status", "models", "series", "events", "executions", "alerts", "cost", "metrics", "token", "plan", "policy"):
        answer = routes.server.request("GET", f"/modelstream/{path}", None, {"Host": "evil.example"})
        assert answer.status == 421, path


def test_prometheus_reads_every_family_of_what_happened(routes: Routes) -> None:
    found = metrics(routes.server)
    names = {name for name, _ in found}
    assert names >= {
        "comfyui_requests_total",
        "comfyui_request_duration_seconds_bucket",
        "comfyui_executions_total",
        "comfyui_execution_duration_seconds_bucket",
        "comfyui_queue_depth",
        "comfyui_queue_wait_seconds_bucket",
        "comfyui_model_load_seconds_bucket",
        "comfyui_cache_hits_total",
        "comfyui_cache_misses_total",
        "comfyui_cache_evictions_total",
        "comfyui_cache_used_bytes",
        "comfyui_cache_budget_bytes",
        "comfyui_transfer_bytes_total",
        "comfyui_saved_seconds_total",
        "comfyui_cost_total",
        "comfyui_origin_up",
        "comfyui_errors_total",
        "comfyui_alerts_active",
        "comfyui_panel_actions_total",
    }
    assert found[("comfyui_origin_up", (("origin", "bucket"),))] == 1
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=10) as answer:
        assert b'comfyui_origin_up{origin="bucket"} 1.0' in answer.read()
    assert metrics(routes.server, "/metrics").keys() >= {("comfyui_origin_up", (("origin", "bucket"),))}
    endpoints = {dict(labels)["endpoint"] for name, labels in found if name == "comfyui_requests_total"}
    assert "/modelstream/models" in endpoints
    assert not [e for e in endpoints if "slow" in e or "%" in e]


def test_ten_thousand_names_add_no_series(routes: Routes) -> None:
    chosen = random.Random(3)
    for _ in range(3):  # every endpoint that this asks for exists now
        routes.server.request("GET", "/modelstream/models/" + "a" * 64)
        routes.server.request("GET", "/view_metadata/loras?filename=a.safetensors")
        routes.server.request("GET", "/nowhere")
        metrics(routes.server)

    def series() -> set[Any]:
        """But for alerts: what went wrong in the tests before may end in one, whose rules are a fixed list."""
        return {key for key in metrics(routes.server) if not key[0].startswith("comfyui_alerts")}

    before = series()

    connection = http.client.HTTPConnection("127.0.0.1", routes.server.port, timeout=30)
    for number in range(10_000):
        word = "".join(chosen.choices("abcdefghijklmnopqrstuvwxyz0123456789_-", k=24))
        path = (f"/modelstream/models/{word}", f"/view_metadata/loras?filename={word}.safetensors", f"/{word}")[number % 3]
        connection.request("GET", path)
        connection.getresponse().read()
    connection.close()
    assert not series() ^ before


def test_hostile_names_are_plain_text_everywhere(routes: Routes) -> None:
    names = {row["name"] for row in routes.get("models", folder="loras")["rows"]}
    assert set(HOSTILE) <= names
    for hostile in HOSTILE:
        routes.server.prompt(
            load_only("LoraLoaderModelOnly", lora_name=hostile, strength_model=1.0, model=["3", 0])
            | {"3": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors")}
        ).expect()
    assert {e["name"] for e in routes.get("events", limit="500")["events"]} >= set(HOSTILE)
    answer = routes.server.request("GET", "/modelstream/events")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    labels = {value for _, pairs in metrics(routes.server) for _, value in pairs}
    assert not [value for value in labels if "img" in value or "\u202e" in value or '"' in value]
    lines = [line for line in routes.server.log().splitlines() if "\u202e" in line and "[modelstream]" in line]
    assert not lines


def test_no_route_tick_or_picture_holds_a_secret_an_endpoint_or_a_path(routes: Routes, seaweed: Seaweed) -> None:
    server = routes.server
    routes.post("panel", {"client_id": server.client_id, "open": True})
    run = server.prompt(text_to_image("tiny.safetensors", lora="tiny.safetensors", seed=99)).expect()
    said = [path.read_bytes() for path in run.images]
    paths = ("status", "models?limit=1000", "series", "events?limit=500", "executions", "alerts", "cost", "metrics")
    said += [server.request("GET", f"/modelstream/{path}").body for path in paths]
    said += [routes.ask(path, body).body for path, body in WRONG_BODIES]
    said += [json.dumps(told.values, default=str).encode() for told in server.listener.all("modelstream")]
    said += [server.request("GET", path).body for path in ("/history", "/object_info/CheckpointLoaderSimple", "/internal/logs")]
    assert len(said) > 30
    for text in said:
        for secret in (*secrets_of(seaweed), seaweed.endpoint):
            assert secret.encode() not in text
    for text in said[1 : 1 + len(paths)]:
        assert str(server.base).encode() not in text
    routes.post("panel", {"client_id": server.client_id, "open": False})


def test_an_interrupted_prompt_is_counted_as_such(routes: Routes) -> None:
    routes.post("evict", {"digests": [routes.digest("slow-1.safetensors")]})
    prompt = routes.server.submit(load_only("CheckpointLoaderSimple", ckpt_name="slow-1.safetensors"))
    assert eventually(lambda: routes.get("status")["transfers"])
    routes.server.interrupt()
    assert routes.server.wait(prompt).state == "interrupted"
    row = next(r for r in routes.get("executions")["rows"] if r["prompt"] == prompt)
    assert row["status"] == "interrupted"
    assert eventually(lambda: not routes.get("status")["transfers"])


def test_nothing_runs_when_nothing_happens(routes: Routes) -> None:
    """The threads of telemetry and panel end or sleep; what they did is readable all the same."""
    assert routes.get("status")["panels"] == 0
    pause = threading.Event()
    assert eventually(lambda: pause.wait(0.2) is False and routes.get("status")["queue"]["execution"] is None)
    assert routes.get("series", span="10m")["series"]["loads"]["points"]


@pytest.mark.skipif(PROGRAM is None, reason="needs Debian's prometheus")
def test_prometheus_scrapes_it_and_every_query_of_the_dashboard_has_data(routes: Routes) -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    with Prometheus(f"127.0.0.1:{routes.server.port}", MONITORING / "alerts.yml") as prometheus:
        assert eventually(lambda: prometheus.query('up{job="comfyui"} == 1'), 30), prometheus.targets()
        for name in ("slow-0.safetensors", "slow-1.safetensors"):
            routes.server.prompt(load_only("CheckpointLoaderSimple", ckpt_name=name)).expect()
        routes.server.prompt(text_to_image("tiny.safetensors", seed=11)).expect()
        empty = dict.fromkeys(queries(dashboard), True)

        def all_have_data() -> bool:
            for expression in [e for e, missing in empty.items() if missing]:
                empty[expression] = not prometheus.query(expression)
            return not any(empty.values())

        assert eventually(all_have_data, 45), [e for e, missing in empty.items() if missing]
        assert {rule["health"] for rule in prometheus.rules()} == {"ok"}


def queries(dashboard: dict[str, Any]) -> list[str]:
    """What Grafana would ask."""
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(targets) > 30
    return [target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*") for target in targets]


def test_a_card_that_vanishes_under_a_running_comfyui_is_lost_an_alert_and_then_back(routes: Routes, card: Card) -> None:
    def open_panel() -> dict[str, Any]:
        return routes.post("panel", {"client_id": routes.server.client_id, "open": True})["tick"]

    def state() -> str:
        open_panel()
        return next((gpu["state"] for gpu in routes.get("status")["gpus"] or ()), "")

    def alerts() -> set[str]:
        return {alert["rule"] for alert in routes.get("alerts")["active"]}

    assert eventually(lambda: state() == "ok", 20)
    card.does("full")
    assert eventually(lambda: open_panel() and {"vram_warning", "vram_critical"} <= alerts(), 20)
    card.does("gone")
    assert eventually(lambda: state() == "lost" and "gpu_lost" in alerts(), 20)
    (gpu,) = routes.get("status")["gpus"]
    assert (gpu["name"], gpu["memory_used_bytes"], gpu["temperature_c"]) == ("NVIDIA L4", None, None)
    found = metrics(routes.server)
    assert found[("comfyui_gpu_health", (("gpu_id", "0"),))] == 0
    assert not [name for name, _ in found if name == "comfyui_gpu_memory_bytes"]
    routes.server.prompt(load_only("CheckpointLoaderSimple", ckpt_name="tiny.safetensors")).expect()
    card.does("idle")
    assert eventually(lambda: state() == "ok" and not {"gpu_lost", "vram_critical"} & alerts(), 40)
    told = [t.values["alert"] for t in routes.server.listener.all("modelstream") if t.values["kind"] == "alert"]
    began = {alert["rule"]: alert for alert in told if alert["active"]}
    assert began.keys() >= {"vram_critical", "gpu_lost"}
    assert began["vram_critical"]["unit"] == "ratio" and began["vram_critical"]["value"] == pytest.approx(0.97, abs=0.01)
    routes.post("panel", {"client_id": routes.server.client_id, "open": False})


@pytest.mark.skipif(CHECKER is None, reason="needs Debian's promtool")
def test_the_alert_rules_hold_what_they_promise() -> None:
    for command in (["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        run = subprocess.run([CHECKER, *command], cwd=MONITORING, check=False, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(CHECKER is None, reason="needs Debian's promtool")
def test_the_names_follow_prometheus_practice(routes: Routes) -> None:
    text = routes.server.request("GET", "/modelstream/metrics").body
    run = subprocess.run([CHECKER, "check", "metrics"], check=False, input=text, capture_output=True, timeout=60)
    assert run.returncode == 0, run.stdout.decode() + run.stderr.decode()


def test_the_command_line_asks_a_running_comfyui_which_seams_fit(comfy: ComfyServer, tmp_path):
    command = [sys.executable, "-m", "modelstream", "doctor", "--quick", "--json", "--comfyui", str(tmp_path), "--url", comfy.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    seams = {f["check"]: f["status"] for f in json.loads(ended.stdout)["findings"] if f["check"].startswith("seam ")}
    assert seams["seam listing"] == seams["seam resolving"] == seams["seam loading"] == "ok"
